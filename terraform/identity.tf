# In whose name functions are called. Each function lets in its own caller alone.
resource "google_service_account" "caller" {
  for_each = {
    messages = "Pub/Sub, which pushes messages"
    events   = "Eventarc, which delivers events"
    schedule = "Cloud Scheduler, which wakes the sweeper"
  }

  account_id   = "calls-${each.key}"
  display_name = each.value
}

resource "google_project_iam_member" "events_received" {
  project = var.project
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.caller["events"].member
}

resource "google_service_account" "builder" {
  account_id   = "builds-functions"
  display_name = "Cloud Build, which turns archives into functions"
}

resource "google_project_iam_member" "builder_logs" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}

resource "google_project_iam_custom_role" "job_runner" {
  role_id     = "causalJobRunner"
  title       = "Runs and cancels the step job"
  permissions = ["run.jobs.run", "run.jobs.runWithOverrides", "run.executions.list", "run.executions.get", "run.executions.cancel"]
}

resource "google_project_iam_custom_role" "object_deleter" {
  role_id     = "causalObjectDeleter"
  title       = "Deletes objects"
  permissions = ["storage.objects.delete", "storage.objects.list"]
}

locals {
  # Functions and the job, as members of policies.
  members = merge({ for name, function in module.function : name => function.member }, { step_job = module.job.member })

  # What each of them may do on the project. Documents have no finer grain than the database.
  project_roles = {
    for name in concat(keys(local.functions), ["step_job"]) : name => merge(
      {
        documents = {
          role      = "roles/datastore.user"
          condition = "resource.name == 'projects/${var.project}/databases/${var.database}'"
        }
        traces = { role = "roles/telemetry.tracesWriter", condition = null }
        quota  = { role = "roles/serviceusage.serviceUsageConsumer", condition = null }
      },
      contains(local.planners, "gemini") && contains(concat(local.asking, ["step_job"]), name) ? { model = { role = "roles/aiplatform.user", condition = null } } : {},
    )
  }
}

resource "google_storage_bucket_iam_member" "others_read" {
  for_each = var.dataset_buckets

  bucket = each.value
  role   = "roles/storage.objectViewer"
  member = local.members[local.first_agent]
}

resource "google_bigquery_dataset_iam_member" "read" {
  for_each = var.bigquery_datasets

  project    = split(".", each.value)[0]
  dataset_id = split(".", each.value)[1]
  role       = "roles/bigquery.dataViewer"
  member     = local.members[local.first_agent]
}

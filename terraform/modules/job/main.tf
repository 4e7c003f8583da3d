resource "google_service_account" "this" {
  project      = var.project
  account_id   = var.name
  display_name = "Job ${var.name}"
}

resource "google_cloud_run_v2_job" "this" {
  project             = var.project
  name                = var.name
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.this.email
      timeout         = var.timeout
      encryption_key  = var.kms_key

      # A task that dies leaves a lease behind: a task that is started again at once would find it and do nothing. The
      # sweeper starts the step again when the lease has run out, and counts the attempts.
      max_retries = 0

      containers {
        image = var.image

        resources {
          limits = {
            memory = var.memory
            cpu    = var.cpu
          }
        }

        dynamic "env" {
          for_each = merge(var.environment_variables, { CAUSAL_SERVICE_ACCOUNT = google_service_account.this.email, OTEL_SERVICE_NAME = var.name })

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }
}

resource "google_cloud_run_v2_job_iam_member" "runner" {
  for_each = merge(var.runners, { itself = google_service_account.this.member })

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.this.name
  role     = var.runner
  member   = each.value
}

resource "google_project_iam_member" "role" {
  for_each = var.project_roles

  project = var.project
  role    = each.value.role
  member  = google_service_account.this.member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]

    content {
      title      = "only what it works on"
      expression = condition.value
    }
  }
}

resource "google_service_account_iam_member" "acts_as_itself" {
  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this.member
}

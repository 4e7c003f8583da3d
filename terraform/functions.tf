module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name          = each.key
  project       = var.project
  region        = var.region
  runtime       = var.runtime
  entry_point   = each.value.entry_point
  source_bucket = google_storage_bucket.this["sources"].name
  source_object = var.sources[each.key]
  builder       = google_service_account.builder.id
  repository    = google_artifact_registry_repository.this.id
  kms_key       = var.kms_key

  memory        = each.value.memory
  cpu           = each.value.cpu
  timeout       = each.value.timeout
  concurrency   = each.value.concurrency
  max_instances = each.value.instances
  min_instances = each.key == "api" ? var.api_idle_instances : 0

  # Pushes, events and schedules come from inside; only people come from outside.
  ingress  = each.value.caller == "people" ? "ALLOW_ALL" : "ALLOW_INTERNAL_ONLY"
  invokers = each.value.caller == "people" ? { for member in var.api_invokers : member => member } : { (each.value.caller) = google_service_account.caller[each.value.caller].member }

  trigger               = try(local.triggers[each.key], null)
  event_caller          = google_service_account.caller["events"].email
  project_roles         = local.project_roles[each.key]
  signs                 = each.key == "api"
  latest_gets_traffic   = !var.canary
  environment_variables = local.environment_variables

  depends_on = [
    google_artifact_registry_repository_iam_member.builder,
    google_project_iam_member.builder_logs,
    google_project_iam_member.events_received,
    google_project_iam_member.storage_announces,
    google_storage_bucket_iam_member.sources_read,
    google_firestore_database.this,
  ]
}

locals {
  service = replace(var.name, "_", "-")
}

resource "google_service_account" "this" {
  project      = var.project
  account_id   = "fn-${local.service}"
  display_name = "Function ${var.name}"
}

resource "google_cloudfunctions2_function" "this" {
  project      = var.project
  name         = local.service
  location     = var.region
  description  = "Causal Orchestrator: ${var.name}"
  kms_key_name = var.kms_key

  build_config {
    runtime           = var.runtime
    entry_point       = var.entry_point
    service_account   = var.builder
    docker_repository = var.repository

    source {
      storage_source {
        bucket = var.source_bucket
        object = var.source_object
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.this.email
    available_memory                 = var.memory
    available_cpu                    = var.cpu
    timeout_seconds                  = var.timeout
    max_instance_request_concurrency = var.concurrency
    min_instance_count               = var.min_instances
    max_instance_count               = var.max_instances
    ingress_settings                 = var.ingress
    all_traffic_on_latest_revision   = var.latest_gets_traffic

    # functions-framework serves with a handful of threads unless it is told otherwise, whatever the platform lets in.
    environment_variables = merge(var.environment_variables, {
      CAUSAL_SERVICE_ACCOUNT = google_service_account.this.email
      OTEL_SERVICE_NAME      = var.name
      THREADS                = tostring(var.concurrency)
    })
  }

  dynamic "event_trigger" {
    for_each = var.trigger == null ? [] : [var.trigger]

    content {
      trigger_region        = var.region
      event_type            = event_trigger.value.event_type
      retry_policy          = "RETRY_POLICY_RETRY"
      service_account_email = var.event_caller

      dynamic "event_filters" {
        for_each = event_trigger.value.filters

        content {
          attribute = event_filters.value.attribute
          value     = event_filters.value.value
          operator  = event_filters.value.operator
        }
      }
    }
  }
}

# Only its caller reaches it.
resource "google_cloud_run_service_iam_member" "invoker" {
  for_each = var.invokers

  project  = var.project
  location = var.region
  service  = google_cloudfunctions2_function.this.name
  role     = "roles/run.invoker"
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

# A delayed message is published in the function's own name.
resource "google_service_account_iam_member" "acts_as_itself" {
  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this.member
}

resource "google_service_account_iam_member" "signs_as_itself" {
  count = var.signs ? 1 : 0

  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.this.member
}

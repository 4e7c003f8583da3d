# Places for secrets; what is in them is added by hand and never stands in Terraform's state:
#   openssl rand -hex 32 | gcloud secrets versions add API_KEY_PEPPER --data-file=-
# They are read when they are needed, so that a new version takes effect without a deployment.
locals {
  secrets = merge(
    {
      API_KEY_PEPPER  = ["api"]
      PRINCIPALS      = ["api"]
      NOTIFY_KEY      = concat(local.coordinating, ["step_job"])
      KAGGLE_USERNAME = [local.first_agent]
      KAGGLE_KEY      = [local.first_agent]
    },
    { for planner in local.planners : local.planner_secrets[planner] => concat(local.asking, ["step_job"]) if contains(keys(local.planner_secrets), planner) },
  )

  secret_readers = merge([
    for secret, readers in local.secrets : { for reader in readers : "${secret}/${reader}" => { secret = secret, reader = reader } }
  ]...)
}

resource "google_secret_manager_secret" "this" {
  for_each = local.secrets

  secret_id = each.key

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]

          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_readers

  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members[each.value.reader]
}

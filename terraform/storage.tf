# datasets: what people leave under uploads/. artifacts: what jobs wrote. sources: the functions' archives.
#
# No versioning: a job's objects are created once, under names that no two attempts share, and read by generation; an
# overwritten upload is a new dataset. Against deletion by mistake stands soft delete, for `recovery_days`.
locals {
  buckets = {
    datasets  = { days = var.retention_days, class = "STANDARD" }
    artifacts = { days = var.retention_days, class = "STANDARD" }
    sources   = { days = 180, class = "STANDARD" }
  }

  reading = { for name, member in local.members : name => member if !contains(["upload_intake", "dead_letters"], name) }
  writing = { for name in concat(keys(local.agents), ["api", "step_job"]) : name => local.members[name] }
}

resource "google_storage_bucket" "this" {
  for_each = local.buckets

  name                        = "${var.project}-${each.key}"
  location                    = var.region
  storage_class               = each.value.class
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  soft_delete_policy {
    retention_duration_seconds = var.recovery_days * 86400
  }

  lifecycle_rule {
    condition {
      age = each.value.days
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # A page of another origin may put a file under an address that the service has signed, and nothing else.
  dynamic "cors" {
    for_each = each.key == "artifacts" && length(var.upload_origins) > 0 ? [var.upload_origins] : []

    content {
      origin          = cors.value
      method          = ["PUT"]
      response_header = ["Content-Type", "x-goog-content-length-range", "x-goog-if-generation-match"]
      max_age_seconds = 3600
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.this]
}

# Google's buckets announce new objects through Pub/Sub.
resource "google_project_iam_member" "storage_announces" {
  project = var.project
  role    = "roles/pubsub.publisher"
  member  = local.agents_of_google.storage
}

# Who looks at results or uploads reads artifacts, who computes or takes an upload writes them, and only who erases or
# collects may delete.
resource "google_storage_bucket_iam_member" "artifacts_read" {
  for_each = local.reading

  bucket = google_storage_bucket.this["artifacts"].name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_storage_bucket_iam_member" "artifacts_write" {
  for_each = local.writing

  bucket = google_storage_bucket.this["artifacts"].name
  role   = "roles/storage.objectCreator"
  member = each.value
}

resource "google_storage_bucket_iam_member" "artifacts_delete" {
  for_each = toset(["api", "sweeper"])

  bucket = google_storage_bucket.this["artifacts"].name
  role   = google_project_iam_custom_role.object_deleter.name
  member = local.members[each.key]
}

resource "google_storage_bucket_iam_member" "datasets_read" {
  for_each = toset(["upload_intake", local.first_agent])

  bucket = google_storage_bucket.this["datasets"].name
  role   = "roles/storage.objectViewer"
  member = local.members[each.key]
}

resource "google_storage_bucket_iam_member" "sources_read" {
  bucket = google_storage_bucket.this["sources"].name
  role   = "roles/storage.objectViewer"
  member = google_service_account.builder.member
}

resource "google_artifact_registry_repository" "this" {
  repository_id = "causal"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the functions and of the job"
  kms_key_name  = var.kms_key

  cleanup_policies {
    id     = "recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.builder.member
}

# The image that staging has tried is the one that production runs.
resource "google_artifact_registry_repository_iam_member" "puller" {
  for_each = var.image_pullers

  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

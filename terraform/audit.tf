# Who reads and writes objects and secrets stands in Cloud Audit Logs.
resource "google_project_iam_audit_config" "this" {
  for_each = toset(["storage.googleapis.com", "secretmanager.googleapis.com"])

  project = var.project
  service = each.value

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}

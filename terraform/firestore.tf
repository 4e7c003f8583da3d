resource "google_firestore_database" "this" {
  name                              = var.database
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  deletion_policy                   = "ABANDON"
  point_in_time_recovery_enablement = var.recovery_days > 0 ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"

  dynamic "cmek_config" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_project_service.this]
}

# A list of jobs is asked for by tenant, and perhaps status, newest first. What the sweeper asks for (`done`, and
# `collected`) are equalities in the order of names: the indexes that every field has by itself answer them.
resource "google_firestore_index" "jobs" {
  for_each = {
    newest           = ["tenant"]
    newest_by_status = ["tenant", "status"]
  }

  database   = google_firestore_database.this.name
  collection = "jobs"

  dynamic "fields" {
    for_each = each.value

    content {
      field_path = fields.value
      order      = "ASCENDING"
    }
  }

  fields {
    field_path = "created_at"
    order      = "DESCENDING"
  }
}

# What is large and never asked for has no index, and so costs none. Nor have times by themselves: an index whose newest
# entries all lie side by side takes 500 writes a second. Lists are ordered within a tenant, by the indexes above.
resource "google_firestore_field" "unindexed" {
  for_each = {
    created    = { collection = "jobs", field = "created_at" }
    updated    = { collection = "jobs", field = "updated_at" }
    deadlines  = { collection = "jobs", field = "deadline_at" }
    results    = { collection = "steps", field = "result" }
    parts      = { collection = "parts", field = "result" }
    decisions  = { collection = "steps", field = "decision" }
    questions  = { collection = "jobs", field = "question" }
    prompts    = { collection = "asked", field = "prompt" }
    replies    = { collection = "asked", field = "reply" }
    reasonings = { collection = "traces", field = "reasoning" }
  }

  database   = google_firestore_database.this.name
  collection = each.value.collection
  field      = each.value.field

  index_config {}
}

# What may be forgotten says when. Jobs do not: what hangs below a document outlives it, so erasure walks through them.
resource "google_firestore_field" "expires" {
  for_each = toset(["requests", "rejected"])

  database   = google_firestore_database.this.name
  collection = each.value
  field      = "expires_at"

  ttl_config {}
  index_config {}
}

resource "google_firebaserules_ruleset" "this" {
  source {
    files {
      name    = "firestore.rules"
      content = file("${path.module}/firestore.rules")
    }
  }

  depends_on = [google_firestore_database.this]
}

resource "google_firebaserules_release" "this" {
  name         = var.database == "(default)" ? "cloud.firestore" : "cloud.firestore/${var.database}"
  ruleset_name = google_firebaserules_ruleset.this.name

  lifecycle {
    replace_triggered_by = [google_firebaserules_ruleset.this]
  }
}

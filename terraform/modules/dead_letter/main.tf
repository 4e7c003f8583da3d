# Where a message goes that could not be delivered, a subscription that keeps it until somebody looks and, where it names
# a job's step, one that pushes it to the function that fails the job.
variable "name" {
  description = "What it is the dead letter of."
  type        = string
}

variable "project" {
  description = "The project's ID."
  type        = string
}

variable "pubsub_agent" {
  description = "Pub/Sub's own account, which moves dead letters."
  type        = string
}

variable "kms_key" {
  description = "A key of one's own, or null."
  type        = string
  default     = null
}

variable "endpoint" {
  description = "The address of the function that gets dead letters, or null: they are only kept."
  type        = string
  default     = null
}

variable "caller" {
  description = "The account in whose name they are pushed."
  type        = string
  default     = null
}

resource "google_pubsub_topic" "this" {
  project      = var.project
  name         = "${var.name}-dead"
  kms_key_name = var.kms_key
}

resource "google_pubsub_subscription" "this" {
  project                    = var.project
  name                       = "${var.name}-dead"
  topic                      = google_pubsub_topic.this.id
  message_retention_duration = "1209600s"
  ack_deadline_seconds       = 60

  expiration_policy {
    ttl = ""
  }
}

# It has no dead letter of its own: it tries until the message is no longer kept, and the other one keeps it as well.
resource "google_pubsub_subscription" "push" {
  count = var.endpoint == null ? 0 : 1

  project                    = var.project
  name                       = "${var.name}-dead-push"
  topic                      = google_pubsub_topic.this.id
  message_retention_duration = "1209600s"
  ack_deadline_seconds       = 120

  push_config {
    push_endpoint = "${var.endpoint}/projects/${var.project}/topics/${var.name}-dead"

    oidc_token {
      service_account_email = var.caller
      audience              = var.endpoint
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "moves_here" {
  project = var.project
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = var.pubsub_agent
}

output "topic" {
  description = "The dead letter's topic (full name)."
  value       = google_pubsub_topic.this.id
}

output "subscription" {
  description = "The subscription that keeps dead letters."
  value       = google_pubsub_subscription.this.name
}

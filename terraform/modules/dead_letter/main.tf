# Where a message goes that could not be delivered, and a subscription that keeps it until somebody looks.
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

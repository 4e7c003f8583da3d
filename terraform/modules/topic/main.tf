# A topic, who may publish to it, and the subscription that pushes its messages to a function.
#
# The subscription is ours rather than one that Eventarc makes: its dead letter, deadline and back-off stand here, from the
# first moment. functions-framework takes the raw push and makes a CloudEvent of it; the delivery attempt, which it drops
# on the way, is not missed: attempts are counted in the step's document.
variable "name" {
  description = "The topic: an agent's key, or analysis-requests."
  type        = string
}

variable "project" {
  description = "The project's ID."
  type        = string
}

variable "publishers" {
  description = "Who may publish: role → member."
  type        = map(string)
}

variable "endpoint" {
  description = "The function's address."
  type        = string
}

variable "caller" {
  description = "The account in whose name messages are pushed."
  type        = string
}

variable "timeout" {
  description = "Seconds that the function may take."
  type        = number
}

variable "gives_up" {
  description = "The address of the function that gets what could not be delivered."
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
  name         = var.name
  kms_key_name = var.kms_key
}

module "dead_letter" {
  source = "../dead_letter"

  name         = var.name
  project      = var.project
  pubsub_agent = var.pubsub_agent
  kms_key      = var.kms_key
  endpoint     = var.gives_up
  caller       = var.caller
}

resource "google_pubsub_subscription" "this" {
  project                    = var.project
  name                       = var.name
  topic                      = google_pubsub_topic.this.id
  ack_deadline_seconds       = min(600, var.timeout + 60)
  message_retention_duration = "86400s"

  push_config {
    push_endpoint = "${var.endpoint}/projects/${var.project}/topics/${var.name}"

    oidc_token {
      service_account_email = var.caller
      audience              = var.endpoint
    }
  }

  # More than the eight attempts of a step: what arrives there is what the documents could not settle.
  dead_letter_policy {
    dead_letter_topic     = module.dead_letter.topic
    max_delivery_attempts = 20
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription_iam_member" "moves_away" {
  project      = var.project
  subscription = google_pubsub_subscription.this.name
  role         = "roles/pubsub.subscriber"
  member       = var.pubsub_agent
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishers

  project = var.project
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = each.value
}

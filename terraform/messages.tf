# One topic for every agent, named after it, and one for requests. Who may write the next step may send any of them;
# an agent asks only for its own turn again; whoever takes a request in sends the first.
module "topic" {
  source   = "./modules/topic"
  for_each = local.topics

  name         = each.key
  project      = var.project
  endpoint     = module.function[each.value].uri
  caller       = google_service_account.caller["messages"].email
  timeout      = local.functions[each.value].timeout
  gives_up     = module.function["dead_letters"].uri
  pubsub_agent = local.agents_of_google.messages
  kms_key      = var.kms_key

  publishers = each.key == local.requests ? { for member in var.requesters : member => member } : merge(
    { for name in concat(local.coordinating, ["step_job", each.key]) : name => local.members[name] },
    each.key == local.first_agent ? { for name in ["request_intake", "upload_intake"] : name => local.members[name] } : {},
  )
}

# What has happened, for whoever wants to know. It is kept for a week, so a new subscriber can look back.
resource "google_pubsub_topic" "events" {
  name                       = local.events
  message_retention_duration = "604800s"
  kms_key_name               = var.kms_key
}

resource "google_pubsub_topic_iam_member" "events_publisher" {
  for_each = toset(concat(local.coordinating, ["step_job"]))

  topic  = google_pubsub_topic.events.name
  role   = "roles/pubsub.publisher"
  member = local.members[each.key]
}

resource "google_pubsub_topic_iam_member" "events_subscriber" {
  for_each = var.event_subscribers

  topic  = google_pubsub_topic.events.name
  role   = "roles/pubsub.subscriber"
  member = each.value
}

# The subscriptions behind Firestore's and the bucket's events are Eventarc's, whose triggers have no field for a dead
# letter: deploy/dead_letters.sh sets it after every apply. Should an event be lost all the same, the sweeper looks.
module "event_dead_letter" {
  source   = "./modules/dead_letter"
  for_each = local.triggers

  name         = each.key
  project      = var.project
  pubsub_agent = local.agents_of_google.messages
  kms_key      = var.kms_key
}

# A message for later is published by a task, in the name of who asked for it.
resource "google_cloud_tasks_queue" "later" {
  name     = "later"
  location = var.region

  rate_limits {
    max_dispatches_per_second = 100
    max_concurrent_dispatches = 100
  }

  retry_config {
    max_attempts  = 20
    min_backoff   = "1s"
    max_backoff   = "300s"
    max_doublings = 8
  }

  stackdriver_logging_config {
    sampling_ratio = 1
  }

  depends_on = [google_project_service.this]
}

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = merge({ for name in keys(local.agents) : name => local.members[name] }, { step_job = local.members["step_job"] })

  name     = google_cloud_tasks_queue.later.name
  location = var.region
  role     = "roles/cloudtasks.enqueuer"
  member   = each.value
}

resource "google_cloud_scheduler_job" "sweep" {
  name             = "sweep"
  region           = var.region
  description      = "Looks after everything that an event should have moved and did not"
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "540s"

  http_target {
    uri         = module.function["sweeper"].uri
    http_method = "POST"

    oidc_token {
      service_account_email = google_service_account.caller["schedule"].email
      audience              = module.function["sweeper"].uri
    }
  }

  # The next minute is the retry.
  retry_config {
    retry_count = 0
  }
}

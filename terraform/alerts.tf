# When people are told (OPS-3). A rate is a count over another count; a threshold stands for `period` before it is crossed.
locals {
  user    = "resource.type = \"cloud_run_revision\" AND metric.type = \"logging.googleapis.com/user/causal"
  answers = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\""
  letters = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription"
  memory  = "metric.type = \"run.googleapis.com/container/memory/utilizations\""

  rates = {
    errors = {
      says = "More than 5 % of a function's requests failed in 5 minutes", most = 0.05, period = "300s", by = ["resource.label.service_name"]
      part = "${local.answers} AND metric.label.response_code_class = \"5xx\"", of = local.answers
    }
    failed_jobs = {
      says = "More than 10 % of jobs failed in 15 minutes", most = 0.1, period = "900s", by = []
      part = "${local.user}/jobs_ended\" AND metric.label.status = \"FAILED\"", of = "${local.user}/jobs_ended\""
    }
    model_errors = {
      says = "More than 1 % of questions to a model were not answered", most = 0.01, period = "900s", by = ["metric.label.by"]
      part = "${local.user}/models\" AND metric.label.outcome != \"answered\"", of = "${local.user}/models\""
    }
  }

  limits = {
    latency = {
      says   = "A twentieth of the API's answers take more than 30 seconds", most = 30, period = "300s"
      filter = "${local.user}/api_seconds\"", align = "ALIGN_PERCENTILE_95", reduce = "REDUCE_MAX", by = []
    }
    memory = {
      says   = "A function uses more than 90 % of its memory", most = 0.9, period = "300s"
      filter = "resource.type = \"cloud_run_revision\" AND ${local.memory}", align = "ALIGN_PERCENTILE_99", reduce = "REDUCE_MAX", by = ["resource.label.service_name"]
    }
    job_memory = {
      says   = "A task of the job uses more than 90 % of its memory", most = 0.9, period = "300s"
      filter = "resource.type = \"cloud_run_job\" AND ${local.memory}", align = "ALIGN_PERCENTILE_99", reduce = "REDUCE_MAX", by = []
    }
    dead_letters = {
      says   = "A message could not be delivered and waits to be looked at", most = 0, period = "60s"
      filter = "${local.letters}/num_undelivered_messages\" AND resource.label.subscription_id = monitoring.regex.full_match(\".*-dead\")", align = "ALIGN_MAX", reduce = "REDUCE_MAX", by = ["resource.label.subscription_id"]
    }
    queue_age = {
      says   = "A message has waited for more than 15 minutes", most = 900, period = "300s"
      filter = "${local.letters}/oldest_unacked_message_age\" AND NOT resource.label.subscription_id = monitoring.regex.full_match(\".*-dead\")", align = "ALIGN_MAX", reduce = "REDUCE_MAX", by = ["resource.label.subscription_id"]
    }
    refused = {
      says   = "A model's provider refuses our credentials", most = 0, period = "300s"
      filter = "${local.user}/models_refused\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = []
    }
  }
}

resource "google_monitoring_alert_policy" "rate" {
  for_each = local.rates

  display_name          = each.value.says
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.key

    condition_threshold {
      filter             = each.value.part
      denominator_filter = each.value.of
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.most
      duration           = "0s"

      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = each.value.by
      }

      denominator_aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = each.value.by
      }
    }
  }

  depends_on = [google_logging_metric.counter]
}

resource "google_monitoring_alert_policy" "limit" {
  for_each = local.limits

  display_name          = each.value.says
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.key

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.most
      duration        = "0s"

      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.align
        cross_series_reducer = each.value.reduce
        group_by_fields      = each.value.by
      }
    }
  }

  depends_on = [google_logging_metric.counter, google_logging_metric.measure, google_logging_metric.api_seconds]
}

resource "google_monitoring_alert_policy" "no_sweep" {
  display_name          = "The sweeper has not run for 5 minutes"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "no_sweep"

    condition_absent {
      filter   = "${local.user}/sweeps\""
      duration = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  depends_on = [google_logging_metric.counter]
}

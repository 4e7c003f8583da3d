# Every number comes from the log lines of log.py: an instance that may have no processor between two requests loses no
# line, while it would lose what a metrics exporter had yet to send. A metric counts lines of one event, or measures a field.
locals {
  counters = {
    jobs_started   = { event = "job_started", condition = "", labels = [] }
    jobs_ended     = { event = "job_ended", condition = "", labels = ["status", "verdict", "code"] }
    steps          = { event = "step", condition = "", labels = ["agent", "outcome"] }
    retries        = { event = "step", condition = "jsonPayload.attempt>1", labels = ["agent"] }
    decisions      = { event = "decided", condition = "", labels = ["decided_by"] }
    models         = { event = "model", condition = "", labels = ["by", "outcome"] }
    models_refused = { event = "model_failed", condition = "(jsonPayload.status=401 OR jsonPayload.status=403)", labels = ["model"] }
    sweeps         = { event = "sweep", condition = "", labels = [] }
  }

  measures = {
    job_seconds   = { event = "job_ended", field = "seconds", unit = "s", labels = ["status"] }
    step_seconds  = { event = "step", field = "seconds", unit = "s", labels = ["agent"] }
    step_waited   = { event = "step", field = "waited", unit = "s", labels = ["agent"] }
    model_seconds = { event = "model", field = "seconds", unit = "s", labels = ["by"] }
    tokens_in     = { event = "model", field = "tokens_in", unit = "1", labels = ["by"] }
    tokens_out    = { event = "model", field = "tokens_out", unit = "1", labels = ["by"] }
    model_cost    = { event = "model", field = "cost", unit = "1", labels = ["by"] }
  }

  ours = "(resource.type=\"cloud_run_revision\" OR resource.type=\"cloud_run_job\")"
}

resource "google_logging_metric" "counter" {
  for_each = local.counters

  name             = "causal/${each.key}"
  filter           = join(" AND ", compact([local.ours, "jsonPayload.message=\"${each.value.event}\"", each.value.condition]))
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = each.value.labels

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }
}

resource "google_logging_metric" "measure" {
  for_each = local.measures

  name             = "causal/${each.key}"
  filter           = "${local.ours} AND jsonPayload.message=\"${each.value.event}\" AND jsonPayload.${each.value.field}:*"
  value_extractor  = "EXTRACT(jsonPayload.${each.value.field})"
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit

    dynamic "labels" {
      for_each = each.value.labels

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  # From a millisecond, or a token's thousandth of a cent, to days.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 64
      growth_factor      = 1.5
      scale              = 0.0001
    }
  }
}

# How long the API takes, from the platform's own request log: a stream of progress lasts as long as its job and is no
# slow answer.
resource "google_logging_metric" "api_seconds" {
  name            = "causal/api_seconds"
  filter          = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"api\" AND log_id(\"run.googleapis.com/requests\") AND NOT httpRequest.requestUrl:\"/events\""
  value_extractor = "REGEXP_EXTRACT(httpRequest.latency, \"([0-9.]+)\")"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "s"
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 64
      growth_factor      = 1.5
      scale              = 0.001
    }
  }
}

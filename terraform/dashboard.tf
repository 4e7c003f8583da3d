locals {
  charts = [
    { title = "Jobs ended, by status", filter = "${local.user}/jobs_ended\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.status"] },
    { title = "Verdicts", filter = "${local.user}/jobs_ended\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.verdict"] },
    { title = "Seconds of a job, median", filter = "${local.user}/job_seconds\"", align = "ALIGN_PERCENTILE_50", reduce = "REDUCE_MEAN", by = ["metric.label.status"] },
    { title = "Steps, by outcome", filter = "${local.user}/steps\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.outcome"] },
    { title = "Seconds of a step, 95 %", filter = "${local.user}/step_seconds\"", align = "ALIGN_PERCENTILE_95", reduce = "REDUCE_MAX", by = ["metric.label.agent"] },
    { title = "Seconds until a step is begun, 95 %", filter = "${local.user}/step_waited\"", align = "ALIGN_PERCENTILE_95", reduce = "REDUCE_MAX", by = ["metric.label.agent"] },
    { title = "Retries", filter = "${local.user}/retries\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.agent"] },
    { title = "Questions to models", filter = "${local.user}/models\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.by", "metric.label.outcome"] },
    { title = "Decisions, by who decided", filter = "${local.user}/decisions\"", align = "ALIGN_DELTA", reduce = "REDUCE_SUM", by = ["metric.label.decided_by"] },
    { title = "Tokens out of a question, mean", filter = "${local.user}/tokens_out\"", align = "ALIGN_DELTA", reduce = "REDUCE_MEAN", by = ["metric.label.by"] },
    { title = "Cost of a question, mean", filter = "${local.user}/model_cost\"", align = "ALIGN_DELTA", reduce = "REDUCE_MEAN", by = ["metric.label.by"] },
    { title = "Requests, by answer", filter = local.answers, align = "ALIGN_RATE", reduce = "REDUCE_SUM", by = ["metric.label.response_code_class"] },
    { title = "Seconds of an answer of the API, 95 %", filter = "${local.user}/api_seconds\"", align = "ALIGN_PERCENTILE_95", reduce = "REDUCE_MAX", by = [] },
    { title = "Memory, 99 %", filter = "resource.type = \"cloud_run_revision\" AND ${local.memory}", align = "ALIGN_PERCENTILE_99", reduce = "REDUCE_MAX", by = ["resource.label.service_name"] },
    { title = "Instances", filter = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/container/instance_count\"", align = "ALIGN_MAX", reduce = "REDUCE_SUM", by = ["resource.label.service_name"] },
    { title = "Age of the oldest message", filter = "${local.letters}/oldest_unacked_message_age\"", align = "ALIGN_MAX", reduce = "REDUCE_MAX", by = ["resource.label.subscription_id"] },
    { title = "Dead letters", filter = "${local.letters}/num_undelivered_messages\" AND resource.label.subscription_id = monitoring.regex.full_match(\".*-dead\")", align = "ALIGN_MAX", reduce = "REDUCE_SUM", by = ["resource.label.subscription_id"] },
  ]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "Causal Orchestrator"
    gridLayout = {
      columns = "3"
      widgets = [for chart in local.charts : {
        title = chart.title
        xyChart = {
          dataSets = [{
            plotType = "LINE"
            timeSeriesQuery = {
              timeSeriesFilter = {
                filter = chart.filter
                aggregation = {
                  alignmentPeriod    = "300s"
                  perSeriesAligner   = chart.align
                  crossSeriesReducer = chart.reduce
                  groupByFields      = chart.by
                }
              }
            }
          }]
        }
      }]
    }
  })

  depends_on = [google_logging_metric.counter, google_logging_metric.measure, google_logging_metric.api_seconds]
}

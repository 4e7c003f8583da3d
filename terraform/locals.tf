# The one table of agents: an agent's key here is its key in AGENTS, its file, folder, topic and log field.
# `heavy` agents have steps that run as the Cloud Run job; `asks` agents put questions to a language model.
locals {
  agents = {
    dataset_fetcher      = { memory = "8Gi", cpu = "2", timeout = 540, heavy = false, asks = false }
    data_profiler        = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    eda                  = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    data_repair          = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    causal_discovery     = { memory = "4Gi", cpu = "1", timeout = 540, heavy = true, asks = false }
    confounder_discovery = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    rehearsal            = { memory = "4Gi", cpu = "1", timeout = 540, heavy = true, asks = false }
    ps_diagnostics       = { memory = "4Gi", cpu = "1", timeout = 540, heavy = true, asks = false }
    study_design         = { memory = "2Gi", cpu = "1", timeout = 540, heavy = false, asks = true }
    effect_estimator     = { memory = "4Gi", cpu = "1", timeout = 540, heavy = true, asks = false }
    sensitivity_analyst  = { memory = "4Gi", cpu = "1", timeout = 540, heavy = true, asks = false }
    critique             = { memory = "2Gi", cpu = "1", timeout = 540, heavy = false, asks = true }
    interpreter          = { memory = "1Gi", cpu = "1", timeout = 540, heavy = false, asks = true }
    visualizer           = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    notebook_generator   = { memory = "4Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
    reporter             = { memory = "2Gi", cpu = "1", timeout = 540, heavy = false, asks = false }
  }

  # What stands around the agents. `coordinates` says that it may write the next step, and so send it and ask about it.
  services = {
    api            = { memory = "1Gi", cpu = "1", timeout = 3600, concurrency = 32, instances = 20, entry_point = "on_request", caller = "people", coordinates = true }
    request_intake = { memory = "512Mi", cpu = "1", timeout = 60, concurrency = 8, instances = 5, entry_point = "on_request_message", caller = "messages", coordinates = false }
    upload_intake  = { memory = "512Mi", cpu = "1", timeout = 60, concurrency = 8, instances = 5, entry_point = "on_upload", caller = "events", coordinates = false }
    coordinator    = { memory = "1Gi", cpu = "1", timeout = 300, concurrency = 8, instances = 20, entry_point = "on_step_written", caller = "events", coordinates = true }
    dead_letters   = { memory = "512Mi", cpu = "1", timeout = 60, concurrency = 8, instances = 5, entry_point = "on_dead_letter", caller = "messages", coordinates = false }
    sweeper        = { memory = "1Gi", cpu = "1", timeout = 540, concurrency = 1, instances = 2, entry_point = "on_schedule", caller = "schedule", coordinates = true }
  }

  # Agents compute on one thread, one step at a time.
  functions = merge(local.services, {
    for name, agent in local.agents : name => {
      memory      = agent.memory
      cpu         = agent.cpu
      timeout     = agent.timeout
      concurrency = 1
      instances   = var.max_instances
      entry_point = "on_message"
      caller      = "messages"
      coordinates = false
    }
  })

  first_agent = "dataset_fetcher"
  requests    = "analysis-requests"
  events      = "analysis-events"

  # Topic → the function that gets its messages.
  topics = merge({ for name in keys(local.agents) : name => name }, { (local.requests) = "request_intake" })

  # Who waits for an event that Eventarc delivers.
  triggers = {
    coordinator = {
      event_type = "google.cloud.firestore.document.v1.written"
      filters = [
        { attribute = "database", value = var.database, operator = null },
        { attribute = "document", value = "jobs/{job}/steps/{step}", operator = "match-path-pattern" },
      ]
    }
    upload_intake = {
      event_type = "google.cloud.storage.object.v1.finalized"
      filters    = [{ attribute = "bucket", value = google_storage_bucket.this["datasets"].name, operator = null }]
    }
  }

  coordinating = [for name, service in local.services : name if service.coordinates]
  asking       = concat(local.coordinating, [for name, agent in local.agents : name if agent.asks])

  # The secret that holds a planner's key, as in models.KEYS; Vertex needs none.
  planner_secrets = {
    gemini-key = "GEMINI_API_KEY"
    claude     = "ANTHROPIC_API_KEY"
    openai     = "OPENAI_API_KEY"
  }
  planners = distinct(compact([var.planner, length(split(":", var.model_second)) > 1 ? split(":", var.model_second)[0] : ""]))

  environment_variables = {
    CAUSAL_BACKEND              = "gcp"
    CAUSAL_HOME                 = "/tmp/causal"
    CAUSAL_LOG                  = "INFO"
    GOOGLE_CLOUD_PROJECT        = var.project
    CAUSAL_REGION               = var.region
    CAUSAL_DATABASE             = var.database
    CAUSAL_BUCKET               = google_storage_bucket.this["artifacts"].name
    CAUSAL_DATASETS_BUCKET      = google_storage_bucket.this["datasets"].name
    CAUSAL_ENVIRONMENT          = var.environment
    CAUSAL_TENANT               = var.tenant
    CAUSAL_URL                  = "https://api-${data.google_project.this.number}.${var.region}.run.app"
    CAUSAL_SOURCES              = jsonencode(var.dataset_sources)
    CAUSAL_RESEND_SECONDS       = "60"
    CAUSAL_RUN_JOB              = "step-job"
    CAUSAL_TASK_QUEUE           = "later"
    CAUSAL_PLANNER              = var.planner
    CAUSAL_MODEL                = var.model
    CAUSAL_MODEL_SECOND         = var.model_second
    CAUSAL_MODEL_PRICES         = var.model_prices
    CAUSAL_LOCATION             = var.model_location
    OMP_NUM_THREADS             = "1"
    OPENBLAS_NUM_THREADS        = "1"
    MKL_NUM_THREADS             = "1"
    OTEL_EXPORTER_OTLP_ENDPOINT = var.traces_endpoint
    OTEL_RESOURCE_ATTRIBUTES    = "gcp.project_id=${var.project},deployment.environment.name=${var.environment}"
  }

  agents_of_google = {
    messages = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    storage  = "serviceAccount:service-${data.google_project.this.number}@gs-project-accounts.iam.gserviceaccount.com"
  }
}

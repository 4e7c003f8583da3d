variable "project" {
  description = "The Google Cloud project's ID."
  type        = string
}

variable "environment" {
  description = "Which environment this is; the middle of its API keys."
  type        = string

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "The environment is staging or production."
  }
}

variable "region" {
  description = "Where everything runs and lies. Firestore and the buckets cannot be moved later."
  type        = string
  default     = "europe-west1"
}

variable "database" {
  description = "The Firestore database."
  type        = string
  default     = "(default)"
}

variable "runtime" {
  description = "The functions' Python."
  type        = string
  default     = "python311"
}

variable "sources" {
  description = "Function → name of its archive in the bucket of sources. The name holds the content's hash: what did not change is not deployed."
  type        = map(string)
}

variable "job_image" {
  description = "The image of the job, by digest."
  type        = string
}

variable "image_pullers" {
  description = "Members of other projects that run the images of this one: production's Cloud Run agent, in staging."
  type        = set(string)
  default     = []
}

variable "canary" {
  description = "Whether a new revision gets no traffic until deploy/canary.py gives it some."
  type        = bool
  default     = false
}

variable "max_instances" {
  description = "How many instances an agent may have: the bound on what a flood of jobs can cost."
  type        = number
  default     = 20
}

variable "api_invokers" {
  description = "Who may reach the API at all. It asks for a key or an ID token of its own on every route but /health."
  type        = list(string)
  default     = ["allUsers"]
}

variable "upload_origins" {
  description = "Origins of web pages (https://host) that may upload straight to the bucket, past the service."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.upload_origins : can(regex("^https://[^/*]+$", origin))])
    error_message = "An origin is https://host, without a path and without wildcards."
  }
}

variable "api_idle_instances" {
  description = "Instances of the API that are kept warm; each costs while idle."
  type        = number
  default     = 0
}

variable "job_memory" {
  description = "Memory of one task of the job."
  type        = string
  default     = "16Gi"
}

variable "job_cpu" {
  description = "CPUs of one task of the job."
  type        = string
  default     = "4"
}

variable "planner" {
  description = "Who chooses among the admissible steps: gemini (Vertex), gemini-key, claude, openai or offline."
  type        = string
  default     = "gemini"
}

variable "model" {
  description = "The first model."
  type        = string
  default     = "gemini-2.5-pro"
}

variable "model_second" {
  description = "The model between the first one and the offline planner; planner:model if it is another provider's."
  type        = string
  default     = "gemini-2.5-flash"
}

variable "model_prices" {
  description = "Prices of a million tokens in and out, as in 0.3,2.5; empty if costs are not to be settled."
  type        = string
  default     = ""
}

variable "model_location" {
  description = "Where Vertex answers."
  type        = string
  default     = "europe-west1"
}

variable "traces_endpoint" {
  description = "Where spans are sent by OTLP/HTTP; empty sends none."
  type        = string
  default     = "https://telemetry.googleapis.com"
}

variable "tenant" {
  description = "Whose jobs are those that a message or a dropped file starts."
  type        = string
  default     = "default"
}

variable "dataset_sources" {
  description = "Tenant (or * for all) → addresses that it may have fetched: https://, https://host, gs://bucket/prefix, bq://project.dataset. Empty: uploads and dropped files alone."
  type        = map(list(string))
  default     = {}
}

variable "dataset_buckets" {
  description = "Buckets of others from which gs:// addresses may be analysed."
  type        = set(string)
  default     = []
}

variable "bigquery_datasets" {
  description = "BigQuery datasets (project.dataset) from which tables may be analysed."
  type        = set(string)
  default     = []
}

variable "event_subscribers" {
  description = "Members that may subscribe to analysis-events."
  type        = set(string)
  default     = []
}

variable "requesters" {
  description = "Members that may publish to analysis-requests."
  type        = set(string)
  default     = []
}

variable "retention_days" {
  description = "After how many days a job's files and uploads are deleted."
  type        = number
  default     = 365
}

variable "recovery_days" {
  description = "For how many days what was deleted can be brought back (soft delete 0, or 7 to 90; documents: 7 or none). Erasure is final only after them."
  type        = number
  default     = 7
}

variable "kms_key" {
  description = "A key of one's own for buckets, topics, documents, secrets, images, functions and the job, which Google's service agents of these must be allowed to use; null for Google's."
  type        = string
  default     = null
}

variable "alert_email" {
  description = "Who is told when something is wrong."
  type        = string
}

variable "billing_account" {
  description = "The billing account that the budget watches; empty for no budget."
  type        = string
  default     = ""
}

variable "budget" {
  description = "What a month may cost before people are told, in whole units of `currency`."
  type        = number
  default     = 100
}

variable "currency" {
  description = "The billing account's currency."
  type        = string
  default     = "USD"
}

variable "name" {
  description = "The function's name: an agent's key, or a service's."
  type        = string
}

variable "project" {
  description = "The project's ID."
  type        = string
}

variable "region" {
  description = "Where it runs."
  type        = string
}

variable "runtime" {
  description = "Its Python."
  type        = string
}

variable "entry_point" {
  description = "What main.py imports."
  type        = string
}

variable "source_bucket" {
  description = "The bucket of archives."
  type        = string
}

variable "source_object" {
  description = "Its archive; the name holds the content's hash."
  type        = string
}

variable "builder" {
  description = "The service account that builds it (full name)."
  type        = string
}

variable "repository" {
  description = "The repository that keeps its image (full name)."
  type        = string
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
}

variable "timeout" {
  description = "Seconds that one request may take."
  type        = number
}

variable "concurrency" {
  description = "Requests that an instance serves at once."
  type        = number
}

variable "max_instances" {
  description = "At most so many instances."
  type        = number
}

variable "min_instances" {
  description = "So many are kept warm."
  type        = number
  default     = 0
}

variable "ingress" {
  description = "From where it can be reached."
  type        = string
  default     = "ALLOW_INTERNAL_ONLY"
}

variable "environment_variables" {
  description = "Its environment; CAUSAL_SERVICE_ACCOUNT, OTEL_SERVICE_NAME and THREADS are added."
  type        = map(string)
}

variable "invokers" {
  description = "Who may call it: role → member."
  type        = map(string)
}

variable "trigger" {
  description = "The event that calls it, if one does."
  type = object({
    event_type = string
    filters    = list(object({ attribute = string, value = string, operator = string }))
  })
  default = null
}

variable "event_caller" {
  description = "The account in whose name events are delivered."
  type        = string
  default     = null
}

variable "project_roles" {
  description = "Roles on the project: name → role and, if it is narrower than the project, condition."
  type        = map(object({ role = string, condition = optional(string) }))
  default     = {}
}

variable "latest_gets_traffic" {
  description = "Whether a new revision gets all traffic at once."
  type        = bool
  default     = true
}

variable "signs" {
  description = "Whether it signs addresses in its own name."
  type        = bool
  default     = false
}

variable "kms_key" {
  description = "A key of one's own, or null."
  type        = string
  default     = null
}

variable "name" {
  description = "The job's name."
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

variable "image" {
  description = "Its image, by digest."
  type        = string
}

variable "memory" {
  description = "Memory of a task."
  type        = string
}

variable "cpu" {
  description = "CPUs of a task."
  type        = string
}

variable "timeout" {
  description = "How long a task may take, as in 600s."
  type        = string
}

variable "environment_variables" {
  description = "Its environment; CAUSAL_SERVICE_ACCOUNT is added."
  type        = map(string)
}

variable "project_roles" {
  description = "Roles on the project: name → role and, if it is narrower than the project, condition."
  type        = map(object({ role = string, condition = optional(string) }))
  default     = {}
}

variable "runner" {
  description = "The role that runs and cancels it."
  type        = string
}

variable "runners" {
  description = "Who runs it: role → member."
  type        = map(string)
}

variable "kms_key" {
  description = "A key of one's own, or null."
  type        = string
  default     = null
}

# Steps that need more memory or time than a function has, and their parts, one task each.
module "job" {
  source = "./modules/job"

  name                  = "step-job"
  project               = var.project
  region                = var.region
  image                 = var.job_image
  memory                = var.job_memory
  cpu                   = var.job_cpu
  timeout               = "7200s"
  kms_key               = var.kms_key
  project_roles         = local.project_roles["step_job"]
  environment_variables = local.environment_variables

  runner  = google_project_iam_custom_role.job_runner.name
  runners = { for name in local.coordinating : name => module.function[name].member }

  depends_on = [google_project_service.this, google_firestore_database.this]
}

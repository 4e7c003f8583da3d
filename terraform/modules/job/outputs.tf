output "member" {
  description = "The job as a member of policies."
  value       = google_service_account.this.member
}

output "name" {
  description = "The job's name."
  value       = google_cloud_run_v2_job.this.name
}

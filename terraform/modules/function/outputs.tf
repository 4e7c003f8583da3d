output "member" {
  description = "The function as a member of policies."
  value       = google_service_account.this.member
}

output "email" {
  description = "The function's account."
  value       = google_service_account.this.email
}

output "uri" {
  description = "Where it answers."
  value       = google_cloudfunctions2_function.this.service_config[0].uri
}

output "service" {
  description = "The name of its Cloud Run service."
  value       = google_cloudfunctions2_function.this.name
}

output "trigger" {
  description = "The name of its Eventarc trigger, or null."
  value       = one(google_cloudfunctions2_function.this.event_trigger[*].trigger)
}

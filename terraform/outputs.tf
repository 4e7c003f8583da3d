output "api" {
  description = "Where the service answers."
  value       = module.function["api"].uri
}

output "services" {
  description = "Function → its Cloud Run service, for the canary."
  value       = { for name, function in module.function : name => function.service }
}

output "triggers" {
  description = "Eventarc trigger → topic of its dead letters, for deploy/dead_letters.sh."
  value       = { for name, letter in module.event_dead_letter : module.function[name].trigger => letter.topic }
}

output "buckets" {
  description = "The buckets by what they are for."
  value       = { for name, bucket in google_storage_bucket.this : name => bucket.name }
}

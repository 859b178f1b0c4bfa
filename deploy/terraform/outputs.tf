output "url" {
  description = "Where the gateway answers."
  value       = google_cloud_run_v2_service.gateway.uri
}

output "client_account" {
  description = "The account that clients use; let them act as it by workload identity."
  value       = google_service_account.client.email
}

output "gateway_account" {
  description = "The account that the gateway runs as."
  value       = google_service_account.gateway.email
}

output "job_account" {
  description = "The account that jobs run as."
  value       = google_service_account.job.email
}

output "image_path" {
  description = "Where images are pushed: add /NAME:TAG."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

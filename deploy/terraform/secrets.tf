resource "google_secret_manager_secret" "secret" {
  for_each = toset(local.secrets)

  project   = var.project_id
  secret_id = each.key

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "callback_secret" {
  secret                 = google_secret_manager_secret.secret["CLOUDRUN_CALLBACK_SECRET"].id
  secret_data_wo         = var.callback_secret
  secret_data_wo_version = var.secrets_version
}

resource "google_secret_manager_secret_version" "admin_key" {
  secret                 = google_secret_manager_secret.secret["GATEHOUSE_ADMIN_KEY"].id
  secret_data_wo         = var.admin_key
  secret_data_wo_version = var.secrets_version
}

resource "google_secret_manager_secret_version" "api_keys" {
  count = var.with_api_keys ? 1 : 0

  secret                 = google_secret_manager_secret.secret["GATEHOUSE_API_KEYS"].id
  secret_data_wo         = var.api_keys
  secret_data_wo_version = var.secrets_version
}

# The gateway, and nobody else; jobs are given no secret.
resource "google_secret_manager_secret_iam_member" "gateway" {
  for_each = google_secret_manager_secret.secret

  project   = var.project_id
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.gateway.member
}

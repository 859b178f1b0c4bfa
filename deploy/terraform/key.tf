resource "google_kms_key_ring" "ring" {
  project    = var.project_id
  name       = var.kms_key_ring
  location   = local.kms_location
  depends_on = [google_project_service.api]
}

resource "google_kms_crypto_key" "payloads" {
  key_ring        = google_kms_key_ring.ring.id
  name            = var.kms_key_name
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = "7776000s"

  lifecycle {
    prevent_destroy = true
  }
}

# The gateway seals, the job opens.
resource "google_kms_crypto_key_iam_member" "gateway" {
  crypto_key_id = google_kms_crypto_key.payloads.id
  role          = "roles/cloudkms.cryptoKeyEncrypter"
  member        = google_service_account.gateway.member
}

resource "google_kms_crypto_key_iam_member" "job" {
  crypto_key_id = google_kms_crypto_key.payloads.id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = google_service_account.job.member
}

resource "google_kms_crypto_key_iam_member" "gateway_opens" {
  count = var.gateway_opens_damaged_tasks ? 1 : 0

  crypto_key_id = google_kms_crypto_key.payloads.id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = google_service_account.gateway.member
}

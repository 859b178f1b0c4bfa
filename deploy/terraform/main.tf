# What the other files share. The roles and the lifecycle of objects are those of the scripts: ../roles, ../bucket-lifecycle.json.

locals {
  roles = {
    for id in ["gatehouseObjects", "gatehouseObjectsRead", "gatehouseJobRunner"] :
    id => yamldecode(file("${path.module}/../roles/${id}.yaml"))
  }
  lifecycle_rules = jsondecode(file("${path.module}/../bucket-lifecycle.json")).rule

  # The folders of the bucket that a job changes, and those that it only reads.
  job_folders      = ["sessions", "tasks", "files", "outbox", "index", "inputs"]
  job_folders_read = ["plugins"]

  secrets = concat(["CLOUDRUN_CALLBACK_SECRET", "GATEHOUSE_ADMIN_KEY"], var.with_api_keys ? ["GATEHOUSE_API_KEYS"] : [])

  apis = concat(
    ["run", "cloudkms", "secretmanager", "artifactregistry", "cloudbuild", "storage", "iam", "iamcredentials"],
    var.network == null ? [] : ["compute"],
  )

  kms_location = coalesce(var.kms_location, var.region)

  # Service and job get the same, so that neither can mean another bucket, key or job than the other.
  variables = merge({
    PROJECT_ID        = var.project_id
    GCS_PROJECT_ID    = var.project_id
    REGION            = var.region
    GCS_LOGS_BUCKET   = var.bucket_name
    KMS_KEY_RING      = var.kms_key_ring
    KMS_KEY_NAME      = var.kms_key_name
    KMS_LOCATION      = local.kms_location
    CLOUDRUN_JOB_NAME = var.job_name
  }, var.settings)
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project            = var.project_id
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_storage_bucket" "tasks" {
  project                     = var.project_id
  name                        = var.bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # What is deleted is gone: payloads hold secrets, and have no reason to survive their task.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "lifecycle_rule" {
    for_each = local.lifecycle_rules

    content {
      action {
        type = lifecycle_rule.value.action.type
      }
      condition {
        age            = lifecycle_rule.value.condition.age
        matches_prefix = lifecycle_rule.value.condition.matchesPrefix
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "gateway" {
  bucket = google_storage_bucket.tasks.name
  role   = google_project_iam_custom_role.role["gatehouseObjects"].id
  member = google_service_account.gateway.member
}

# A job has no right on the bucket, only on the folders that it works in.
resource "google_storage_managed_folder" "folder" {
  for_each = toset(concat(local.job_folders, local.job_folders_read))

  bucket        = google_storage_bucket.tasks.name
  name          = "${each.key}/"
  force_destroy = true
}

resource "google_storage_managed_folder_iam_member" "job" {
  for_each = google_storage_managed_folder.folder

  bucket         = each.value.bucket
  managed_folder = each.value.name
  role           = google_project_iam_custom_role.role[contains(local.job_folders, each.key) ? "gatehouseObjects" : "gatehouseObjectsRead"].id
  member         = google_service_account.job.member
}

resource "google_cloud_run_v2_job" "job" {
  project             = var.project_id
  name                = var.job_name
  location            = var.region
  deletion_protection = false

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account = google_service_account.job.email
      # One attempt more: it repeats nothing, but reports what an attempt that died could not. The time is for each
      # attempt and has to cover the longest task (task.timeout_minutes_limit) with its preparation.
      max_retries = var.job.max_retries
      timeout     = "${var.job.timeout}s"

      containers {
        image = var.image
        args  = ["run-job"]

        resources {
          limits = {
            cpu    = var.job.cpu
            memory = var.job.memory
          }
        }

        dynamic "env" {
          for_each = local.variables

          content {
            name  = env.key
            value = env.value
          }
        }
      }

      dynamic "vpc_access" {
        for_each = google_compute_subnetwork.subnet

        content {
          egress = "ALL_TRAFFIC"

          network_interfaces {
            network    = google_compute_network.network[0].name
            subnetwork = vpc_access.value.name
            tags       = ["gatehouse-job"]
          }
        }
      }
    }
  }

  depends_on = [
    google_storage_managed_folder_iam_member.job,
    google_kms_crypto_key_iam_member.job,
    google_compute_router_nat.nat,
    google_compute_firewall.deny_private,
  ]
}

# Of this job, and without a right to change it.
resource "google_cloud_run_v2_job_iam_member" "gateway" {
  project  = var.project_id
  location = google_cloud_run_v2_job.job.location
  name     = google_cloud_run_v2_job.job.name
  role     = google_project_iam_custom_role.role["gatehouseJobRunner"].id
  member   = google_service_account.gateway.member
}

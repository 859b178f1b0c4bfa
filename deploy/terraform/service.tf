resource "google_cloud_run_v2_service" "gateway" {
  project             = var.project_id
  name                = var.service_name
  location            = var.region
  ingress             = var.service.ingress
  deletion_protection = false

  template {
    service_account                  = google_service_account.gateway.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${var.service.timeout}s"
    max_instance_request_concurrency = var.service.concurrency

    scaling {
      min_instance_count = var.service.min_instances
      max_instance_count = var.service.max_instances
    }

    containers {
      image = var.image
      args  = ["serve"]

      ports {
        container_port = 8080
      }

      resources {
        # Between requests a gateway delivers webhooks and looks after jobs: it keeps its processor.
        cpu_idle          = false
        startup_cpu_boost = true
        limits = {
          cpu    = var.service.cpu
          memory = var.service.memory
        }
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30

        http_get {
          path = "/health"
          port = 8080
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 6

        http_get {
          path = "/health"
          port = 8080
        }
      }

      dynamic "env" {
        for_each = local.variables

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = google_secret_manager_secret.secret

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value.secret_id
              version = "latest"
            }
          }
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
          tags       = ["gatehouse-gateway"]
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.gateway,
    google_secret_manager_secret_version.callback_secret,
    google_secret_manager_secret_version.admin_key,
    google_secret_manager_secret_version.api_keys,
    google_storage_bucket_iam_member.gateway,
    google_kms_crypto_key_iam_member.gateway,
    google_cloud_run_v2_job_iam_member.gateway,
    google_compute_router_nat.nat,
    google_compute_firewall.deny_private,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "client" {
  project  = var.project_id
  location = google_cloud_run_v2_service.gateway.location
  name     = google_cloud_run_v2_service.gateway.name
  role     = "roles/run.invoker"
  member   = google_service_account.client.member
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = toset(var.invokers)

  project  = var.project_id
  location = google_cloud_run_v2_service.gateway.location
  name     = google_cloud_run_v2_service.gateway.name
  role     = "roles/run.invoker"
  member   = each.value
}

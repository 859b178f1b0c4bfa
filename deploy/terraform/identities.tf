resource "google_service_account" "gateway" {
  project      = var.project_id
  account_id   = "gatehouse-gateway"
  display_name = "Gatehouse: gateway"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "job" {
  project      = var.project_id
  account_id   = "gatehouse-job"
  display_name = "Gatehouse: job"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "client" {
  project      = var.project_id
  account_id   = "claude-code-client"
  display_name = "Gatehouse: clients"
  depends_on   = [google_project_service.api]
}

resource "google_project_iam_custom_role" "role" {
  for_each = local.roles

  project     = var.project_id
  role_id     = each.key
  title       = each.value.title
  description = each.value.description
  stage       = each.value.stage
  permissions = each.value.includedPermissions
}

resource "google_compute_network" "network" {
  count = var.network == null ? 0 : 1

  project                 = var.project_id
  name                    = var.network.name
  auto_create_subnetworks = false
  depends_on              = [google_project_service.api]
}

resource "google_compute_subnetwork" "subnet" {
  count = var.network == null ? 0 : 1

  project                  = var.project_id
  name                     = "${var.network.name}-${var.region}"
  region                   = var.region
  network                  = google_compute_network.network[0].id
  ip_cidr_range            = var.network.range
  private_ip_google_access = true
}

resource "google_compute_router" "router" {
  count = var.network == null ? 0 : 1

  project = var.project_id
  name    = "${var.network.name}-router"
  region  = var.region
  network = google_compute_network.network[0].id
}

resource "google_compute_router_nat" "nat" {
  count = var.network == null ? 0 : 1

  project                            = var.project_id
  name                               = "${var.network.name}-nat"
  router                             = google_compute_router.router[0].name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.subnet[0].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}

# RFC 1918, carrier-grade NAT, link-local, benchmarking, protocol assignments, multicast, reserved.
resource "google_compute_firewall" "deny_private" {
  count = var.network == null ? 0 : 1

  project     = var.project_id
  name        = "${var.network.name}-deny-private"
  network     = google_compute_network.network[0].id
  direction   = "EGRESS"
  priority    = 1000
  target_tags = ["gatehouse-gateway", "gatehouse-job"]
  destination_ranges = [
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
    "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
  ]

  deny {
    protocol = "all"
  }
}

resource "google_compute_firewall" "allow_named" {
  count = try(length(var.network.allow_ranges), 0) == 0 ? 0 : 1

  project            = var.project_id
  name               = "${var.network.name}-allow-named"
  network            = google_compute_network.network[0].id
  direction          = "EGRESS"
  priority           = 900
  target_tags        = ["gatehouse-gateway", "gatehouse-job"]
  destination_ranges = var.network.allow_ranges

  allow {
    protocol = "all"
  }
}

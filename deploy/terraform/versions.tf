terraform {
  # Ephemeral variables and write-only arguments keep the secrets out of the state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.23"
    }
  }
}

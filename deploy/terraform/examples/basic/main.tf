# The smallest deployment: terraform apply asks for what has no value here.

variable "project_id" {
  description = "The project that everything is made in."
  type        = string
}

variable "image" {
  description = "The image, by its digest."
  type        = string
}

variable "callback_secret" {
  description = "Signs webhooks."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "admin_key" {
  description = "The operator's key."
  type        = string
  sensitive   = true
  ephemeral   = true
}

module "gatehouse" {
  source = "../.."

  project_id      = var.project_id
  bucket_name     = "${var.project_id}-gatehouse"
  image           = var.image
  callback_secret = var.callback_secret
  admin_key       = var.admin_key
}

output "url" {
  description = "Where the gateway answers."
  value       = module.gatehouse.url
}

variable "project_id" {
  description = "The project that everything is made in."
  type        = string
}

variable "region" {
  description = "Region of bucket, key, images, job and service."
  type        = string
  default     = "europe-west3"
}

variable "bucket_name" {
  description = "GCS_LOGS_BUCKET: a name that no bucket in the world has."
  type        = string
}

variable "image" {
  description = "The image of gateway and job, by its digest: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME@sha256:…"
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name the image by its digest, so that what was tried is what runs: …@sha256:…"
  }
}

variable "service_name" {
  description = "SERVICE_NAME: the Cloud Run service."
  type        = string
  default     = "gatehouse"
}

variable "job_name" {
  description = "CLOUDRUN_JOB_NAME: the Cloud Run job."
  type        = string
  default     = "claude-code-async-worker"
}

variable "kms_key_ring" {
  description = "KMS_KEY_RING."
  type        = string
  default     = "cloudrun-claude-code-keys"
}

variable "kms_key_name" {
  description = "KMS_KEY_NAME: the key that seals requests."
  type        = string
  default     = "async-task-payload-key"
}

variable "kms_location" {
  description = "KMS_LOCATION; by default the region."
  type        = string
  default     = null
}

variable "repository" {
  description = "REPOSITORY: the repository for images."
  type        = string
  default     = "claude-code"
}

variable "settings" {
  description = "Further settings of service and job, by their variables: GATEHOUSE__SECTION__KEY, LOG_LEVEL, ALLOWED_TOOLS, …; no secrets."
  type        = map(string)
  default     = { GATEHOUSE__ISOLATION__MINIMUM = "uid" }

  validation {
    condition = length(setintersection(keys(var.settings), [
      "CLOUDRUN_CALLBACK_SECRET", "GATEHOUSE_ADMIN_KEY", "GATEHOUSE_API_KEYS", "GATEHOUSE__AUTH__API_KEYS",
      "GATEHOUSE__AUTH__ADMIN_KEY", "GATEHOUSE__WEBHOOK__SECRET", "GATEHOUSE__PLUGINS__REGISTRIES",
    ])) == 0
    error_message = "Secrets would stand in the configuration for everybody to read: use callback_secret, admin_key and api_keys."
  }
}

variable "callback_secret" {
  description = "CLOUDRUN_CALLBACK_SECRET: signs webhooks. Goes to Secret Manager and not into the state."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "admin_key" {
  description = "GATEHOUSE_ADMIN_KEY: the operator's key. Goes to Secret Manager and not into the state."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "api_keys" {
  description = "GATEHOUSE_API_KEYS: the callers' keys, with commas. Used where with_api_keys says so."
  type        = string
  sensitive   = true
  ephemeral   = true
  default     = null
}

variable "with_api_keys" {
  description = "Whether callers show a key of the gateway, beside what Cloud Run's IAM asks for."
  type        = bool
  default     = false
}

variable "secrets_version" {
  description = "Count up to have changed secrets written; what is not in the state cannot be compared."
  type        = number
  default     = 1
}

variable "invokers" {
  description = "Who may call the gateway, beside the clients' account: principalSet://…, serviceAccount:…, group:…"
  type        = list(string)
  default     = []

  validation {
    condition     = length(setintersection(var.invokers, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "This would open the gateway to everybody: name who may call."
  }
}

variable "gateway_opens_damaged_tasks" {
  description = "GATEWAY_OPENS_DAMAGED_TASKS: whether the gateway may open sealed requests, to report the end of tasks with a damaged record."
  type        = bool
  default     = false
}

variable "service" {
  description = "Size of the service; see CPU, MEMORY, TIMEOUT, CONCURRENCY, MIN_INSTANCES, MAX_INSTANCES and INGRESS in .env.example."
  type = object({
    cpu           = optional(string, "1")
    memory        = optional(string, "1Gi")
    timeout       = optional(number, 3600)
    concurrency   = optional(number, 200)
    min_instances = optional(number, 1)
    max_instances = optional(number, 3)
    ingress       = optional(string, "INGRESS_TRAFFIC_ALL")
  })
  default = {}

  validation {
    condition     = var.service.min_instances >= 1
    error_message = "With no instance nobody delivers webhooks or notices dead jobs; a schedule that wakes one is made by scripts/deploy-service.sh only."
  }
}

variable "job" {
  description = "Size of the job; see JOB_CPU, JOB_MEMORY, JOB_TIMEOUT (here in seconds) and JOB_MAX_RETRIES in .env.example."
  type = object({
    cpu         = optional(string, "2")
    memory      = optional(string, "4Gi")
    timeout     = optional(number, 90000)
    max_retries = optional(number, 1)
  })
  default = {}
}

variable "network" {
  description = "A network of their own for service and job, from which only public addresses and allow_ranges are reached; null: none."
  type = object({
    name         = optional(string, "gatehouse")
    range        = optional(string, "10.24.0.0/24")
    allow_ranges = optional(list(string), [])
  })
  default = null
}

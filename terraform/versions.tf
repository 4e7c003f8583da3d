terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The bucket is given at init: -backend-config=bucket=PROJECT-terraform
  backend "gcs" {
    prefix = "causal"
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  user_project_override = true
  billing_project       = var.project

  default_labels = {
    application = "causal"
    environment = var.environment
  }
}

data "google_project" "this" {
  project_id = var.project
}

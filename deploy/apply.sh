#!/bin/sh
# Apply an environment's deployment and write down what the next steps need: its address, services and triggers.
set -eu
environment=$1
project=$2
region=$3

terraform -chdir=terraform init -input=false -reconfigure -backend-config="bucket=$project-terraform"
terraform -chdir=terraform apply -input=false -auto-approve \
  -var-file="environments/$environment.tfvars" -var-file="../dist/archives/sources.tfvars.json" \
  -var="project=$project" -var="region=$region" -var="job_image=$(cat dist/image.txt)" -var="alert_email=$ALERT_EMAIL"
terraform -chdir=terraform output -raw api > "dist/$environment.url"
terraform -chdir=terraform output -json services > "dist/$environment.services.json"
terraform -chdir=terraform output -json triggers > "dist/$environment.triggers.json"

#!/bin/sh
# Once a project, by its owner: Terraform's state, and the bucket and the registry that the build must find. In staging
# also the first deployment itself, since the build's gate needs a service that has a key. Idempotent.
set -eu
environment=$1
project=$2
region=$3
ours="--project=$project --quiet"
image="$region-docker.pkg.dev/$project/causal/step-job"

gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com $ours
gcloud storage buckets describe "gs://$project-terraform" $ours >/dev/null 2>&1 ||
  gcloud storage buckets create "gs://$project-terraform" $ours --location="$region" \
    --uniform-bucket-level-access --public-access-prevention
gcloud storage buckets update "gs://$project-terraform" $ours --versioning

terraform -chdir=terraform init -input=false -reconfigure -backend-config="bucket=$project-terraform"
terraform -chdir=terraform apply -input=false -auto-approve \
  -target=google_project_service.this -target='google_storage_bucket.this["sources"]' \
  -target=google_artifact_registry_repository.this -target=google_secret_manager_secret.this \
  -var-file="environments/$environment.tfvars" -var="project=$project" -var="region=$region" \
  -var="sources={}" -var="job_image=none" -var="alert_email=$ALERT_EMAIL"
[ "$environment" = staging ] || exit 0

python3 functions/stage.py build
python3 deploy/archives.py build dist/archives
gcloud storage cp --recursive --no-clobber dist/archives/*/ "gs://$project-sources/" $ours
gcloud builds submit build/step_job --tag="$image:first" $ours
gcloud artifacts docker images describe "$image:first" $ours \
  --format='value(image_summary.fully_qualified_digest)' > dist/image.txt
sh deploy/apply.sh staging "$project" "$region"
sh deploy/dead_letters.sh "$project" "$region" dist/staging.triggers.json

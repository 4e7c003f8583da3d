#!/bin/sh
# Put a dead letter onto the subscriptions that Eventarc made. Idempotent; run after every apply with the project, the
# region and what `terraform output -json triggers` said. Pub/Sub's own account must be able to take messages from there.
set -eu
project=$1
region=$2
triggers=$3
number=$(gcloud projects describe "$project" --format='value(projectNumber)')
agent="serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com"

python3 -c 'import json, sys; [print(*pair) for pair in json.load(open(sys.argv[1])).items()]' "$triggers" |
while read -r trigger topic; do
  subscription=$(gcloud eventarc triggers describe "$trigger" --project="$project" --location="$region" \
    --format='value(transport.pubsub.subscription)')
  gcloud pubsub subscriptions update "$subscription" --project="$project" \
    --dead-letter-topic="$topic" --max-delivery-attempts=20
  gcloud pubsub subscriptions add-iam-policy-binding "$subscription" --project="$project" \
    --member="$agent" --role=roles/pubsub.subscriber >/dev/null
done

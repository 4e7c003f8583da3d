#!/bin/sh
# Put a dead letter onto the subscriptions that Eventarc made. Idempotent; run after every apply, with the project and the
# region of the triggers. Pub/Sub's own account must be able to take a message away from there.
set -eu
project=$1
region=$2
number=$(gcloud projects describe "$project" --format='value(projectNumber)')
agent="serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com"

terraform -chdir=terraform output -json triggers | python3 -c '
import json, sys
for trigger, topic in json.load(sys.stdin).items():
    print(trigger, topic)
' | while read -r trigger topic; do
  subscription=$(gcloud eventarc triggers describe "$trigger" --project="$project" --location="$region" \
    --format='value(transport.pubsub.subscription)')
  gcloud pubsub subscriptions update "$subscription" --project="$project" \
    --dead-letter-topic="$topic" --max-delivery-attempts=20
  gcloud pubsub subscriptions add-iam-policy-binding "$subscription" --project="$project" \
    --member="$agent" --role=roles/pubsub.subscriber >/dev/null
done

#!/bin/sh
# Subscribe the function to the workspaces.
set -eu
infra=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

subscribe() {
  az deployment sub create --only-show-errors --output none \
    --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
    --name "model-release-$AZURE_ENV_NAME-subscriptions" --template-file "$infra/event-subscriptions.bicep" \
    --parameters environmentName="$AZURE_ENV_NAME" systemTopicIds="$SYSTEM_TOPIC_IDS" \
    functionAppId="$FUNCTION_APP_ID" storageId="$STORAGE_ID" deadLetterContainerName="$DEAD_LETTER_CONTAINER"
}

# A published function, and a role just given, take minutes to be known everywhere.
tries=1
until subscribe; do
  if [ "$tries" -ge 5 ]; then
    echo "The event subscription could not be made. Is the function model_registered in the app? Its log tells." >&2
    exit 1
  fi
  tries=$((tries + 1))
  sleep "${RETRY_SECONDS:-30}"
done

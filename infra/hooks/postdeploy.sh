#!/bin/sh
# Subscribe the function to the events of the workspaces.
set -eu
. "$(dirname -- "$0")/deploy.sh"

if ! deploy event-subscriptions environmentName="$AZURE_ENV_NAME" systemTopicIds="$SYSTEM_TOPIC_IDS" \
  functionAppId="$FUNCTION_APP_ID" storageId="$STORAGE_ID" deadLetterContainerName="$DEAD_LETTER_CONTAINER"; then
  echo "The event subscription was not created; check in the log of the app that the function model_registered exists." >&2
  exit 1
fi

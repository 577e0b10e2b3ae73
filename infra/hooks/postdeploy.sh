#!/bin/sh
# Subscribe the function to the workspaces.
set -eu
. "$(dirname -- "$0")/deploy.sh"

if ! deploy event-subscriptions environmentName="$AZURE_ENV_NAME" systemTopicIds="$SYSTEM_TOPIC_IDS" \
  functionAppId="$FUNCTION_APP_ID" storageId="$STORAGE_ID" deadLetterContainerName="$DEAD_LETTER_CONTAINER"; then
  echo "The event subscription could not be made. Is the function model_registered in the app? Its log tells." >&2
  exit 1
fi

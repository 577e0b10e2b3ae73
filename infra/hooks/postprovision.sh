#!/bin/sh
# Give the app's identity what it needs outside of its own resource group.
set -eu
. "$(dirname -- "$0")/deploy.sh"

deploy grants principalId="$IDENTITY_PRINCIPAL_ID" workspaceIds="$WORKSPACE_IDS" \
  azureDevOpsPatSecret="${AZURE_DEVOPS_PAT_SECRET:-}"

if [ -n "${AZURE_DEVOPS_PAT_SECRET:-}" ]; then
  # The app looked for the token before it was allowed to.
  az rest --only-show-errors --output none --method post \
    --url "$FUNCTION_APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"
fi

echo "Add the identity $IDENTITY_NAME to the Azure DevOps organization, where that is not done yet: see docs/deploy.md."

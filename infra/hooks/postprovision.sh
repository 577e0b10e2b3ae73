#!/bin/sh
# Assign the roles that the app's identity needs outside its own resource group.
set -eu
. "$(dirname -- "$0")/deploy.sh"

deploy grants principalId="$IDENTITY_PRINCIPAL_ID" workspaceIds="$WORKSPACE_IDS" \
  azureDevOpsPatSecret="${AZURE_DEVOPS_PAT_SECRET:-}"

if [ -n "${AZURE_DEVOPS_PAT_SECRET:-}" ]; then
  # The app resolved the reference before it had the role.
  az rest --only-show-errors --output none --method post \
    --url "$FUNCTION_APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"
fi

echo "If not done yet, add the identity $IDENTITY_NAME to the Azure DevOps organization; see docs/deploy.md."

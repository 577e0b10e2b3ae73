# Assign the roles that the app's identity needs outside its own resource group.
. "$PSScriptRoot/deploy.ps1"

Deploy 'grants' @{
  principalId = $env:IDENTITY_PRINCIPAL_ID
  workspaceIds = @($env:WORKSPACE_IDS | ConvertFrom-Json)
  azureDevOpsPatSecret = "$env:AZURE_DEVOPS_PAT_SECRET"
}

if ($env:AZURE_DEVOPS_PAT_SECRET) {
  # The app resolved the reference before it had the role.
  az rest --only-show-errors --output none --method post `
    --url "$env:FUNCTION_APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"
  if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

Write-Output "If not done yet, add the identity $env:IDENTITY_NAME to the Azure DevOps organization; see docs/deploy.md."

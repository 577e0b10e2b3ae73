# Give the app's identity what it needs outside of its own resource group.
. "$PSScriptRoot/deploy.ps1"

Deploy 'grants' @{
  principalId = $env:IDENTITY_PRINCIPAL_ID
  workspaceIds = @($env:WORKSPACE_IDS | ConvertFrom-Json)
  azureDevOpsPatSecret = "$env:AZURE_DEVOPS_PAT_SECRET"
}

if ($env:AZURE_DEVOPS_PAT_SECRET) {
  # The app looked for the token before it was allowed to.
  az rest --only-show-errors --output none --method post `
    --url "$env:FUNCTION_APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"
  if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

Write-Output "Add the identity $env:IDENTITY_NAME to the Azure DevOps organization, where that is not done yet: see docs/deploy.md."

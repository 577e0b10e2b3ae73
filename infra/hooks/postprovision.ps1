# Give the app's identity what it needs outside of its own resource group.
$ErrorActionPreference = 'Stop'
$infra = Split-Path -Parent $PSScriptRoot

# az is a batch file on Windows, which takes the quotes out of JSON: lists are handed over in a file.
$file = New-TemporaryFile
@{
  parameters = @{
    principalId = @{ value = $env:IDENTITY_PRINCIPAL_ID }
    workspaceIds = @{ value = @($env:WORKSPACE_IDS | ConvertFrom-Json) }
    azureDevOpsPatSecret = @{ value = "$env:AZURE_DEVOPS_PAT_SECRET" }
  }
} | ConvertTo-Json -Depth 5 | Set-Content -Path $file

az deployment sub create --only-show-errors --output none `
  --subscription $env:AZURE_SUBSCRIPTION_ID --location $env:AZURE_LOCATION `
  --name "model-release-$env:AZURE_ENV_NAME-grants" --template-file "$infra/grants.bicep" --parameters "@$file"
$result = $LASTEXITCODE
Remove-Item $file
if ($result -ne 0) { exit $result }

if ($env:AZURE_DEVOPS_PAT_SECRET) {
  # The app looked for the token before it was allowed to.
  az rest --only-show-errors --output none --method post `
    --url "$env:FUNCTION_APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"
  if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

Write-Output "Add the identity $env:IDENTITY_NAME to the Azure DevOps organization, where that is not done yet: see docs/deploy.md."

# Subscribe the function to the workspaces.
$ErrorActionPreference = 'Stop'
$infra = Split-Path -Parent $PSScriptRoot

# az is a batch file on Windows, which takes the quotes out of JSON: lists are handed over in a file.
$file = New-TemporaryFile
@{
  parameters = @{
    environmentName = @{ value = $env:AZURE_ENV_NAME }
    systemTopicIds = @{ value = @($env:SYSTEM_TOPIC_IDS | ConvertFrom-Json) }
    functionAppId = @{ value = $env:FUNCTION_APP_ID }
    storageId = @{ value = $env:STORAGE_ID }
    deadLetterContainerName = @{ value = $env:DEAD_LETTER_CONTAINER }
  }
} | ConvertTo-Json -Depth 5 | Set-Content -Path $file

# A published function, and a role just given, take minutes to be known everywhere.
foreach ($try in 1..5) {
  az deployment sub create --only-show-errors --output none `
    --subscription $env:AZURE_SUBSCRIPTION_ID --location $env:AZURE_LOCATION `
    --name "model-release-$env:AZURE_ENV_NAME-subscriptions" --template-file "$infra/event-subscriptions.bicep" `
    --parameters "@$file"
  $result = $LASTEXITCODE
  if ($result -eq 0 -or $try -eq 5) { break }
  Start-Sleep -Seconds 30
}
Remove-Item $file
if ($result -ne 0) {
  [Console]::Error.WriteLine('The event subscription could not be made. Is the function model_registered in the app? Its log tells.')
}
exit $result

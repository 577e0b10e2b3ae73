# Subscribe the function to the workspaces.
. "$PSScriptRoot/deploy.ps1"

try {
  Deploy 'event-subscriptions' @{
    environmentName = $env:AZURE_ENV_NAME
    systemTopicIds = @($env:SYSTEM_TOPIC_IDS | ConvertFrom-Json)
    functionAppId = $env:FUNCTION_APP_ID
    storageId = $env:STORAGE_ID
    deadLetterContainerName = $env:DEAD_LETTER_CONTAINER
  }
} catch {
  [Console]::Error.WriteLine('The event subscription could not be made. Is the function model_registered in the app? Its log tells.')
  exit 1
}

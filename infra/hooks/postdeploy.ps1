# Subscribe the function to the events of the workspaces.
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
  [Console]::Error.WriteLine('The event subscription was not created; check in the log of the app that the function model_registered exists.')
  exit 1
}

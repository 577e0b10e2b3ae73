@description('Name of the azd environment.')
param environmentName string

@description('Resource IDs of the system topics.')
param systemTopicIds string[]

@description('Resource ID of the Function App. Its code must be deployed.')
param functionAppId string

@description('Resource ID of the storage account for dead letters.')
param storageId string

@description('Name of the container for dead letters.')
param deadLetterContainerName string

module eventSubscriptions 'modules/event-subscription.bicep' = [for id in systemTopicIds: {
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    name: 'model-release-${environmentName}'
    systemTopicName: last(split(id, '/'))
    functionAppId: functionAppId
    storageId: storageId
    deadLetterContainerName: deadLetterContainerName
  }
}]

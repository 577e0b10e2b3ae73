@description('Name of the storage account.')
param storageName string

@description('Name of the container for dead letters.')
param containerName string

@description('Resource ID of the system topic.')
param systemTopicId string

@description('Object ID of the identity of the system topic.')
param principalId string

var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' existing = {
  name: '${storageName}/default/${containerName}'
}

resource deadLetterRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadLetters.id, systemTopicId, storageBlobDataContributor)
  scope: deadLetters
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

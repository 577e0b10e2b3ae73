@description('Resource ID.')
param id string

@description('Whether it is created; otherwise it exists.')
param create bool

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (create) {
  name: last(split(id, '/'))
  location: location
  tags: tags
}

resource existingIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = if (!create) {
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  name: last(split(id, '/'))
}

@description('Object ID of the identity.')
output principalId string = create ? identity!.properties.principalId : existingIdentity!.properties.principalId

@description('Client ID of the identity.')
output clientId string = create ? identity!.properties.clientId : existingIdentity!.properties.clientId

@description('Name.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Object ID of the identity.')
output principalId string = identity.properties.principalId

@description('Client ID of the identity.')
output clientId string = identity.properties.clientId

@description('Name of the azd environment.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Suffix that makes names unique.')
param token string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${environmentName}-${token}'
  location: location
  tags: tags
}

@description('Name of the identity.')
output name string = identity.name

@description('Object ID of the identity.')
output principalId string = identity.properties.principalId

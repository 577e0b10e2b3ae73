targetScope = 'subscription'

@description('Object ID of the app\'s identity.')
param principalId string

@description('Resource IDs of the Azure ML workspaces.')
param workspaceIds string[]

@description('Resource ID of the Key Vault secret with a personal access token, or empty.')
param azureDevOpsPatSecret string = ''

var here = subscription().id

// The name of a role is unique in its tenant.
resource modelReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(here, 'model-release-model-reader')
  properties: {
    roleName: 'Model Release model reader ${uniqueString(here)}'
    description: 'Reads the models of an Azure ML workspace and their versions.'
    type: 'CustomRole'
    assignableScopes: [
      here
    ]
    permissions: [
      {
        actions: [
          'Microsoft.MachineLearningServices/workspaces/read'
          'Microsoft.MachineLearningServices/workspaces/models/read'
          'Microsoft.MachineLearningServices/workspaces/models/versions/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

module workspaceRoles 'modules/workspace-role.bicep' = [for (id, i) in workspaceIds: {
  name: 'model-release-workspace-role-${i}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    workspaceName: last(split(id, '/'))
    roleDefinitionId: modelReader.id
    principalId: principalId
  }
}]

// The scope of a module is evaluated even if its condition is false.
var noSecret = '${here}/resourceGroups/none/providers/Microsoft.KeyVault/vaults/none/secrets/none'
var secretParts = split(empty(azureDevOpsPatSecret) ? noSecret : azureDevOpsPatSecret, '/')

module secretRole 'modules/secret-role.bicep' = if (!empty(azureDevOpsPatSecret)) {
  name: 'model-release-secret-role'
  scope: resourceGroup(secretParts[2], secretParts[4])
  params: {
    vaultName: secretParts[8]
    secretName: secretParts[10]
    principalId: principalId
  }
}

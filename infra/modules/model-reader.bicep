targetScope = 'subscription'

var here = subscription().id

// The name of a role is unique in its tenant.
resource modelReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(here, 'model-release-model-reader')
  properties: {
    roleName: 'Model Release model reader ${uniqueString(here)}'
    description: 'Reads the models of an Azure ML workspace or registry and their versions.'
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
          'Microsoft.MachineLearningServices/registries/read'
          'Microsoft.MachineLearningServices/registries/assets/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

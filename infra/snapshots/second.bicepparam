using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'
var topic = 'evgst-model-release-cz4jg6pzhnjbw'

// The second environment of the workspace of plain.bicepparam: it uses the system topic that the first one created.
param environmentName = 'second'
param location = 'westeurope'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod'
param amlSystemTopics = '${here}/ml/providers/Microsoft.EventGrid/systemTopics/${topic}'

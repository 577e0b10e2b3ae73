using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'
var there = '/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups'

param environmentName = 'two-workspaces'
param location = 'westeurope'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod,${there}/research/providers/Microsoft.MachineLearningServices/workspaces/lab'
param alertEmails = 'team@contoso.com'

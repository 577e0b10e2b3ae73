using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'

param environmentName = 'private'
param location = 'westeurope'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param azureDevOpsPatId = '${here}/secrets/providers/Microsoft.KeyVault/vaults/contoso/secrets/azure-devops'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod'
param restrictAccess = true
param operatorAddresses = '203.0.113.0/24'
param privateNetworking = true

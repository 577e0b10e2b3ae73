using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'

param environmentName = 'everything'
param location = 'westeurope'
param resourceGroupName = 'models'
param tags = { team: 'models' }
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param azureDevOpsPatId = '${here}/secrets/providers/Microsoft.KeyVault/vaults/contoso/secrets/azure-devops'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod,${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/test'
param amlSystemTopics = ',${here}/ml/providers/Microsoft.EventGrid/systemTopics/test'
param alertEmails = 'team@contoso.com, operators@contoso.com'
param outcomeEvents = true
param openTelemetry = true
param restrictAccess = true
param operatorAddresses = '203.0.113.0/24'

using '../main.bicep'

param environmentName = 'restricted'
param location = 'westeurope'
param azureDevOpsUrl = 'https://azure-devops.contoso.com/tfs/models'
param azureDevOpsPatId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/secrets/providers/Microsoft.KeyVault/vaults/contoso/secrets/azure-devops'
param amlWorkspaces = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/ml/providers/Microsoft.MachineLearningServices/workspaces/prod'
param restrictAccess = true
param operatorAddresses = '203.0.113.0/24, 198.51.100.7/32'
param virtualNetworkSubnet = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/hub/subnets/model-release'

using '../main.bicep'

param environmentName = 'durable'
param location = 'westeurope'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param amlWorkspaces = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/ml/providers/Microsoft.MachineLearningServices/workspaces/prod'
param storageRedundancy = 'Standard_ZRS'
param storageLock = true
param storageLog = true

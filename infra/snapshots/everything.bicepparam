using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'

// Every parameter is away from its default, but those that exclude each other.
param environmentName = 'everything'
param location = 'northeurope'
param tags = 'team=models, cost center=42'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param azureDevOpsPatId = '${here}/secrets/providers/Microsoft.KeyVault/vaults/contoso/secrets/azure-devops'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod,${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/test'
param amlRegistries = '${here}/shared/providers/Microsoft.MachineLearningServices/registries/contoso'
param catchUpSchedule = '0 7 * * * *'
param amlSystemTopics = ',${here}/ml/providers/Microsoft.EventGrid/systemTopics/test'
param alertEmails = 'team@contoso.com, operators@contoso.com'
param outcomeEvents = true
param openTelemetry = true
param restrictAccess = true
param operatorAddresses = '203.0.113.0/24'
param releaseMap = 'maps/production.yaml'
param azureDevOpsTimeoutSeconds = '15'
param claimLeaseSeconds = '120'
param firstRetrySeconds = '30'
param confirmModels = false
param operationsUrl = 'https://github.com/contoso/model-release/blob/main/docs/operations.md'
param appPythonVersion = '3.14'
param instanceMemoryMB = 4096
param maximumInstanceCount = 100
param alwaysReadyInstances = 1
param alertPendingMinutes = 30
param alertDeliveryFailures = 2
param logRetentionDays = 90
param storageRedundancy = 'Standard_GZRS'
param storageLock = true
param storageLog = true
param privateNetworking = true
param virtualNetworkAddresses = '10.9.0.0/25'

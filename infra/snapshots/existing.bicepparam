using '../main.bicep'

var here = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups'

param environmentName = 'existing'
param location = 'westeurope'
param azureDevOpsUrl = 'https://dev.azure.com/contoso'
param amlWorkspaces = '${here}/ml/providers/Microsoft.MachineLearningServices/workspaces/prod'
param amlSystemTopics = '${here}/topics/providers/Microsoft.EventGrid/systemTopics/models'
param assignRoles = false
param existingIdentity = '${here}/identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/model-release'
param existingStorage = '${here}/models/providers/Microsoft.Storage/storageAccounts/contosorecords'
param existingLogAnalytics = '${here}/logs/providers/Microsoft.OperationalInsights/workspaces/contoso'
param existingApplicationInsights = '${here}/logs/providers/Microsoft.Insights/components/contoso'
param existingPlan = '${here}/models/providers/Microsoft.Web/serverfarms/contoso'
param existingActionGroup = '${here}/logs/providers/Microsoft.Insights/actionGroups/contoso'

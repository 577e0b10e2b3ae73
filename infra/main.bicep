targetScope = 'subscription'

@description('Name of the azd environment: letters, digits and hyphens. It is part of the name of each resource.')
@minLength(1)
@maxLength(20)
param environmentName string

@description('Region of the app; it must offer Flex Consumption. Each system topic is in the region of its workspace.')
@minLength(1)
param location string

@description('Resource group of the app; it is created if it does not exist. Empty: rg- and the name of the environment. Use a group that contains only the app, because azd down deletes it.')
param resourceGroupName string = ''

@description('Tags for each resource.')
param tags object = {}

@description('URL of the Azure DevOps organization, such as https://dev.azure.com/contoso, or of an on-premises collection.')
@minLength(1)
param azureDevOpsUrl string

@description('Resource ID of the Key Vault secret that contains a personal access token. Empty: the identity signs in to Azure DevOps without a token.')
param azureDevOpsPatSecret string = ''

@description('Resource IDs of the Azure ML workspaces, comma-separated. They must be in this subscription; any resource group is possible.')
@minLength(1)
param amlWorkspaces string

@description('Resource IDs of existing Event Grid system topics, comma-separated, in the order of amlWorkspaces. Leave an item empty to create the topic. Each existing topic needs a system-assigned identity.')
param amlSystemTopics string = ''

@description('Path of the release map in the deployed package.')
param releaseMap string = 'release_map.yaml'

@description('Timeout of one request to Azure DevOps in seconds.')
param azureDevOpsTimeoutSeconds string = '20'

@description('Lease of one attempt in seconds, at least three timeouts. After it expires, another worker checks Azure DevOps and takes over.')
param claimLeaseSeconds string = '180'

@description('Seconds until the second attempt. The pause doubles with each attempt, up to an hour.')
param firstRetrySeconds string = '60'

@description('Email addresses for alerts, comma-separated. Empty: alerts are visible in the portal only.')
param alertEmails string = ''

@description('Whether to create a custom topic and publish outcome events to it.')
param outcomeEvents bool = false

@description('Whether the Python worker exports OpenTelemetry to Application Insights.')
param openTelemetry bool = false

@description('Whether to restrict the app to Event Grid and the operator addresses, and its deployment site to the operator addresses.')
param restrictAccess bool = false

@description('Address ranges of the operators, comma-separated, such as 203.0.113.0/24. Used only if access is restricted.')
param operatorAddresses string = ''

@description('Resource ID of a subnet for outbound calls, delegated to Microsoft.App/environments. Empty: none.')
param virtualNetworkSubnet string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName, application: 'model-release' })
var workspaceIds = filter(map(split(amlWorkspaces, ','), id => trim(id)), id => !empty(id))
var topicIds = map(split(amlSystemTopics, ','), id => trim(id))

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
  location: location
  tags: allTags
}

resource workspaces 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = [for id in workspaceIds: {
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  name: last(split(id, '/'))
}]

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    token: token
    alertEmails: alertEmails
    workspaceCount: length(workspaceIds)
  }
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    token: token
  }
}

module storage 'modules/storage.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    identityName: identity.outputs.name
  }
}

module outcomeTopic 'modules/outcome-topic.bicep' = if (outcomeEvents) {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    token: token
    identityName: identity.outputs.name
  }
}

module app 'modules/app.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    token: token
    identityName: identity.outputs.name
    storageName: storage.outputs.name
    deploymentContainerName: storage.outputs.deploymentContainerName
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    azureDevOpsUrl: azureDevOpsUrl
    azureDevOpsPatSecret: azureDevOpsPatSecret
    amlWorkspaces: amlWorkspaces
    releaseMap: releaseMap
    azureDevOpsTimeoutSeconds: azureDevOpsTimeoutSeconds
    claimLeaseSeconds: claimLeaseSeconds
    firstRetrySeconds: firstRetrySeconds
    outcomeTopicEndpoint: outcomeEvents ? outcomeTopic!.outputs.endpoint : ''
    openTelemetry: openTelemetry
    restrictAccess: restrictAccess
    operatorAddresses: operatorAddresses
    virtualNetworkSubnet: virtualNetworkSubnet
  }
}

module systemTopics 'modules/system-topic.bicep' = [for (id, i) in workspaceIds: {
  name: 'system-topic-${i}'
  scope: group
  params: {
    environmentName: environmentName
    tags: allTags
    workspaceId: id
    workspaceLocation: workspaces[i].location
    existingTopicId: i < length(topicIds) ? topicIds[i] : ''
    storageName: storage.outputs.name
    deadLetterContainerName: storage.outputs.deadLetterContainerName
    actionGroupIds: monitoring.outputs.actionGroupIds
  }
}]

@description('Resource group of the app.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the Function App.')
output FUNCTION_APP_NAME string = app.outputs.name

@description('Resource ID of the Function App.')
output FUNCTION_APP_ID string = app.outputs.id

@description('URL of the Function App.')
output FUNCTION_APP_URL string = app.outputs.url

@description('Name of the identity to add to the Azure DevOps organization.')
output IDENTITY_NAME string = identity.outputs.name

@description('Object ID of the identity.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Resource IDs of the system topics, in the order of the workspaces.')
output SYSTEM_TOPIC_IDS string[] = [for (id, i) in workspaceIds: systemTopics[i].outputs.id]

@description('Resource IDs of the workspaces.')
output WORKSPACE_IDS string[] = workspaceIds

@description('Resource ID of the storage account with the table of releases and the dead letters.')
output STORAGE_ID string = storage.outputs.id

@description('Name of the container for dead letters.')
output DEAD_LETTER_CONTAINER string = storage.outputs.deadLetterContainerName

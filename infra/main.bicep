targetScope = 'subscription'

@description('Name of the azd environment: letters, digits and hyphens. It becomes part of each resource\'s name.')
@minLength(1)
@maxLength(20)
param environmentName string

@description('Region of the app, one that offers Flex Consumption. Each system topic lies in the region of its workspace.')
@minLength(1)
param location string

@description('Resource group of the app; made when it is not there. Empty: rg- and the name of the environment. Give it only for a group that is the app\'s alone: azd down deletes it.')
param resourceGroupName string = ''

@description('Tags of every resource.')
param tags object = {}

@description('The Azure DevOps organization, such as https://dev.azure.com/contoso, or an on-premises collection.')
@minLength(1)
param azureDevOpsUrl string

@description('Resource id of the Key Vault secret that holds a personal access token. Empty: the identity signs in to Azure DevOps, and no token is kept anywhere.')
param azureDevOpsPatSecret string = ''

@description('Resource ids of the Azure ML workspaces, comma separated; all in this subscription, in any resource group.')
@minLength(1)
param amlWorkspaces string

@description('Resource ids of Event Grid system topics that the workspaces have already, comma separated, in the order of amlWorkspaces; an empty place where a topic is to be made. Each needs a system-assigned identity.')
param amlSystemTopics string = ''

@description('Path of the release map in the deployed package.')
param releaseMap string = 'release_map.yaml'

@description('Seconds for one request to Azure DevOps.')
param azureDevOpsTimeoutSeconds string = '20'

@description('Seconds that a claim is left alone before somebody looks what became of it; at least three timeouts.')
param claimLeaseSeconds string = '180'

@description('Seconds until the first further try; they double up to an hour.')
param firstRetrySeconds string = '60'

@description('Addresses that alerts are sent to, comma separated. Empty: alerts show in the portal only.')
param alertEmails string = ''

@description('Whether a custom topic is made that tells what became of each release.')
param outcomeEvents bool = false

@description('Whether the Python worker exports OpenTelemetry to Application Insights.')
param openTelemetry bool = false

@description('Whether only Event Grid and the operators\' addresses reach the app, and only the operators\' addresses its deployment site.')
param restrictAccess bool = false

@description('Address ranges of the operators, comma separated, such as 203.0.113.0/24; they count where access is restricted.')
param operatorAddresses string = ''

@description('Resource id of a subnet, delegated to Microsoft.App/environments, that the app\'s outbound calls go through. Empty: none.')
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

@description('The app\'s resource group.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the Function App.')
output FUNCTION_APP_NAME string = app.outputs.name

@description('Resource id of the Function App.')
output FUNCTION_APP_ID string = app.outputs.id

@description('Address of the Function App.')
output FUNCTION_APP_URL string = app.outputs.url

@description('Name of the identity that is to be added to the Azure DevOps organization.')
output IDENTITY_NAME string = identity.outputs.name

@description('Object id of the identity.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Resource ids of the system topics, in the order of the workspaces.')
output SYSTEM_TOPIC_IDS string[] = [for (id, i) in workspaceIds: systemTopics[i].outputs.id]

@description('Resource ids of the workspaces.')
output WORKSPACE_IDS string[] = workspaceIds

@description('Resource id of the storage account with the ledger and the dead letters.')
output STORAGE_ID string = storage.outputs.id

@description('Name of the container for dead letters.')
output DEAD_LETTER_CONTAINER string = storage.outputs.deadLetterContainerName

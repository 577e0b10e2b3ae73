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
param tags { *: string } = {}

@description('URL of the Azure DevOps organization, such as https://dev.azure.com/contoso, or of an on-premises collection.')
@minLength(1)
param azureDevOpsUrl string

@description('Resource ID of the Key Vault secret that contains a personal access token. Empty: the identity signs in to Azure DevOps without a token.')
param azureDevOpsPatId string = ''

@description('Resource IDs of the Azure ML workspaces, comma-separated. Any resource group is possible, and another subscription of the same tenant.')
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

@description('Whether Azure ML must confirm an event before a release is created.')
param confirmModels bool = true

@description('Email addresses for alerts, comma-separated. Empty: alerts are visible in the portal only.')
param alertEmails string = ''

@description('Whether to create a custom topic and publish outcome events to it.')
param outcomeEvents bool = false

@description('Whether the Python worker exports OpenTelemetry to Application Insights.')
param openTelemetry bool = false

@description('Whether to restrict the app to Event Grid and the operator addresses, and its deployment site to the operator addresses.')
param restrictAccess bool = false

@description('Address ranges of the operators, comma-separated, such as 203.0.113.0/24. Needed if access is restricted, because the machine that deploys must be one of them.')
param operatorAddresses string = ''

@description('Resource ID of a subnet for outbound calls, delegated to Microsoft.App/environments. Empty: none.')
param virtualNetworkSubnet string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName, application: 'model-release' })
var workspaceIds = filter(map(split(amlWorkspaces, ','), id => trim(id)), id => !empty(id))
var topicIds = map(split(amlSystemTopics, ','), id => trim(id))
var emails = filter(map(split(alertEmails, ','), email => trim(email)), email => !empty(email))
var operators = filter(map(split(operatorAddresses, ','), address => trim(address)), address => !empty(address))
var allowed = restrictAccess && empty(operators)
  ? fail('RESTRICT_ACCESS is true and OPERATOR_ADDRESSES is empty, so that nobody could deploy or open the app; set OPERATOR_ADDRESSES to your address ranges.')
  : operators

// Each name is known before the deployment begins, so that a preview shows each resource.
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
var names = {
  actionGroup: empty(emails) ? '' : 'ag-${environmentName}-${token}'
  app: 'func-${environmentName}-${token}'
  applicationInsights: 'appi-${environmentName}-${token}'
  deadLetters: 'dead-letters'
  deployments: 'deployments'
  identity: 'id-${environmentName}-${token}'
  logs: 'log-${environmentName}-${token}'
  outcomeTopic: 'evgt-${environmentName}-${token}'
  plan: 'plan-${environmentName}-${token}'
  storage: 'st${token}'
}
var identityId = resourceId(
  subscription().subscriptionId,
  groupName,
  'Microsoft.ManagedIdentity/userAssignedIdentities',
  names.identity
)
var actionGroupIds = empty(emails)
  ? []
  : [resourceId(subscription().subscriptionId, groupName, 'Microsoft.Insights/actionGroups', names.actionGroup)]
var workspaceParts = map(workspaceIds, id => split(id, '/'))
var subscriptionIds = union(map(workspaceParts, parts => toLower(parts[2])), [])
// A system topic is in the subscription of its workspace.
var topics = map(range(0, length(workspaceIds)), i => {
  existingId: i < length(topicIds) ? topicIds[i] : ''
  groupName: toLower(workspaceParts[i][2]) == toLower(subscription().subscriptionId) ? groupName : workspaceParts[i][4]
  name: 'evgst-${environmentName}-${uniqueString(workspaceIds[i])}'
  subscriptionId: workspaceParts[i][2]
})
var systemTopicIds = map(topics, topic => empty(topic.existingId)
  ? resourceId(topic.subscriptionId, topic.groupName, 'Microsoft.EventGrid/systemTopics', topic.name)
  : topic.existingId)
// The scope of a module is evaluated even if its condition is false.
var noToken = '${subscription().id}/resourceGroups/none/providers/Microsoft.KeyVault/vaults/none/secrets/none'
var tokenParts = split(empty(azureDevOpsPatId) ? noToken : azureDevOpsPatId, '/')

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: allTags
}

resource workspaces 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = [for parts in workspaceParts: {
  scope: resourceGroup(parts[2], parts[4])
  name: parts[8]
}]

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    name: names.identity
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    logsName: names.logs
    applicationInsightsName: names.applicationInsights
    actionGroupName: names.actionGroup
    alertEmails: emails
    identityId: identityId
    principalId: identity.outputs.principalId
    workspaceCount: length(workspaceIds)
  }
}

module storage 'modules/storage.bicep' = {
  scope: group
  params: {
    name: names.storage
    location: location
    tags: allTags
    containerNames: [names.deployments, names.deadLetters]
    identityId: identityId
    principalId: identity.outputs.principalId
  }
}

module outcomeTopic 'modules/outcome-topic.bicep' = if (outcomeEvents) {
  scope: group
  params: {
    name: names.outcomeTopic
    location: location
    tags: allTags
    identityId: identityId
    principalId: identity.outputs.principalId
  }
}

module modelReaders 'modules/model-reader.bicep' = [for id in subscriptionIds: {
  scope: subscription(id)
}]

module workspaceRoles 'modules/workspace-role.bicep' = [for parts in workspaceParts: {
  scope: resourceGroup(parts[2], parts[4])
  params: {
    workspaceName: parts[8]
    identityId: identityId
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    modelReaders
  ]
}]

module secretRole 'modules/secret-role.bicep' = if (!empty(azureDevOpsPatId)) {
  scope: resourceGroup(tokenParts[2], tokenParts[4])
  params: {
    vaultName: tokenParts[8]
    secretName: tokenParts[10]
    identityId: identityId
    principalId: identity.outputs.principalId
  }
}

module app 'modules/app.bicep' = {
  scope: group
  params: {
    name: names.app
    planName: names.plan
    location: location
    tags: allTags
    identityId: identityId
    clientId: identity.outputs.clientId
    blobEndpoint: storage.outputs.blobEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    deploymentContainerName: names.deployments
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    azureDevOpsUrl: azureDevOpsUrl
    azureDevOpsPatId: azureDevOpsPatId
    amlWorkspaces: amlWorkspaces
    releaseMap: releaseMap
    azureDevOpsTimeoutSeconds: azureDevOpsTimeoutSeconds
    claimLeaseSeconds: claimLeaseSeconds
    firstRetrySeconds: firstRetrySeconds
    confirmModels: confirmModels
    outcomeEvents: outcomeEvents
    outcomeTopicEndpoint: outcomeEvents ? outcomeTopic!.outputs.endpoint : ''
    openTelemetry: openTelemetry
    restrictAccess: restrictAccess
    operatorAddresses: allowed
    virtualNetworkSubnet: virtualNetworkSubnet
  }
  // The app reads the token and the models as soon as it has its settings.
  dependsOn: [
    secretRole
    workspaceRoles
  ]
}

module systemTopics 'modules/system-topic.bicep' = [for (topic, i) in topics: {
  scope: resourceGroup(topic.subscriptionId, topic.groupName)
  params: {
    name: topic.name
    environmentName: environmentName
    tags: allTags
    workspaceId: workspaceIds[i]
    workspaceLocation: workspaces[i].location
    existingTopicId: topic.existingId
    actionGroupIds: actionGroupIds
  }
  dependsOn: [
    group
    monitoring
  ]
}]

module deadLetterRoles 'modules/dead-letter-role.bicep' = [for (id, i) in systemTopicIds: {
  scope: group
  params: {
    storageName: names.storage
    containerName: names.deadLetters
    systemTopicId: id
    principalId: systemTopics[i].outputs.principalId
  }
  dependsOn: [
    storage
  ]
}]

@description('Resource group of the app.')
output AZURE_RESOURCE_GROUP string = groupName

@description('Name of the Function App.')
output FUNCTION_APP_NAME string = names.app

@description('Resource ID of the Function App.')
output FUNCTION_APP_ID string = resourceId(subscription().subscriptionId, groupName, 'Microsoft.Web/sites', names.app)

@description('URL of the Function App.')
output FUNCTION_APP_URL string = app.outputs.url

@description('Name of the identity to add to the Azure DevOps organization.')
output IDENTITY_NAME string = names.identity

@description('Object ID of the identity.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Resource IDs of the system topics, in the order of the workspaces.')
output SYSTEM_TOPIC_IDS string[] = systemTopicIds

@description('Resource IDs of the workspaces.')
output WORKSPACE_IDS string[] = workspaceIds

@description('Resource ID of the storage account with the table of releases and the dead letters.')
output STORAGE_ID string = resourceId(
  subscription().subscriptionId,
  groupName,
  'Microsoft.Storage/storageAccounts',
  names.storage
)

@description('Name of the container for dead letters.')
output DEAD_LETTER_CONTAINER string = names.deadLetters

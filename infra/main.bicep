@description('Name of the azd environment: letters, digits and hyphens. It is part of the name of each resource.')
@minLength(1)
@maxLength(20)
param environmentName string

@description('Region of the app; it must offer Flex Consumption. Each system topic is in the region of its workspace.')
@minLength(1)
param location string

@description('Tags for each resource: NAME=VALUE, comma-separated.')
param tags string = ''

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

@description('Resource IDs of Azure ML registries, comma-separated, of any resource group, and another subscription of the same tenant. Empty: none.')
param amlRegistries string = ''

@description('Schedule of the catch-up: an NCRONTAB expression of six fields in UTC. Empty: every five minutes.')
param catchUpSchedule string = ''

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

@description('Address of the page where the team reads docs/operations.md. Empty: pages show its path, without a link.')
param operationsUrl string = ''

@description('Version of Python on which the app runs; the package must be made for it.')
@allowed(['3.13', '3.14'])
param appPythonVersion string = '3.13'

@description('Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Maximum number of instances of each function.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Number of instances of model_registered that are always ready. 0: the first event after a pause waits until an instance has started.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('Email addresses for alerts, comma-separated. Empty: alerts are visible in the portal only.')
param alertEmails string = ''

@description('Minutes after which a pending claim fires an alert.')
@minValue(5)
param alertPendingMinutes int = 60

@description('Number of failed deliveries in 15 minutes above which an alert fires.')
@minValue(0)
param alertDeliveryFailures int = 5

@description('Retention of the logs in days.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Whether to create a custom topic and publish outcome events to it.')
param outcomeEvents bool = false

@description('Whether the Python worker exports OpenTelemetry to Application Insights.')
param openTelemetry bool = false

@description('Redundancy of the storage account with the records: Standard_ZRS survives the loss of a zone.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageRedundancy string = 'Standard_LRS'

@description('Whether a lock keeps the storage account from being deleted.')
param storageLock bool = false

@description('Whether each change of a record is logged in Log Analytics.')
param storageLog bool = false

@description('Whether to assign the roles. Without it, another team assigns them, and the identity must exist.')
param assignRoles bool = true

@description('Resource ID of an existing user-assigned identity in this subscription. Empty: one is created.')
param existingIdentity string = ''

@description('Resource ID of an existing storage account in this resource group. Empty: one is created.')
param existingStorage string = ''

@description('Resource ID of an existing Log Analytics workspace. Empty: one is created.')
param existingLogAnalytics string = ''

@description('Resource ID of an existing Application Insights component. Empty: one is created.')
param existingApplicationInsights string = ''

@description('Resource ID of an existing Flex Consumption plan without another app. Empty: one is created.')
param existingPlan string = ''

@description('Resource ID of an existing action group for alerts. Empty: one is created for alertEmails.')
param existingActionGroup string = ''

@description('Whether to restrict the app to Event Grid and the operator addresses, and its deployment site to the operator addresses.')
param restrictAccess bool = false

@description('Address ranges of the operators, comma-separated, such as 203.0.113.0/24. Needed if access is restricted, because the machine that deploys must be one of them.')
param operatorAddresses string = ''

@description('Resource ID of a subnet for outbound calls, delegated to Microsoft.App/environments. Empty: none.')
param virtualNetworkSubnet string = ''

@description('Whether to create a virtual network, and to reach storage and the Key Vault by private endpoints only.')
param privateNetworking bool = false

@description('Address range of the created virtual network, at least a /25.')
param virtualNetworkAddresses string = '10.70.0.0/24'

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tagPairs = filter(split(tags, ','), pair => !empty(trim(pair)))
var ownTags = toObject(tagPairs, pair => trim(split(pair, '=')[0]), pair => trim(join(skip(split(pair, '='), 1), '=')))
var allTags = union(ownTags, { 'azd-env-name': environmentName, application: 'model-release' })
var workspaceIds = filter(map(split(amlWorkspaces, ','), id => trim(id)), id => !empty(id))
var schedule = empty(catchUpSchedule) ? '0 */5 * * * *' : catchUpSchedule
var registryIds = filter(map(split(amlRegistries, ','), id => trim(id)), id => !empty(id))
var topicIds = map(split(amlSystemTopics, ','), id => trim(id))
var emails = filter(map(split(alertEmails, ','), email => trim(email)), email => !empty(email))
var operators = filter(map(split(operatorAddresses, ','), address => trim(address)), address => !empty(address))
var operatorRanges = restrictAccess && empty(operators)
  ? fail('RESTRICT_ACCESS is true and OPERATOR_ADDRESSES is empty, so that nobody could deploy or open the app; set OPERATOR_ADDRESSES to your address ranges.')
  : operators
// Without roles, a new identity could do nothing.
var assigned = !assignRoles && empty(existingIdentity)
  ? fail('ASSIGN_ROLES is false and EXISTING_IDENTITY is empty, so that the identity would have no role; set EXISTING_IDENTITY to the identity with the roles.')
  : assignRoles
var ownNetwork = privateNetworking && !empty(virtualNetworkSubnet)
  ? fail('PRIVATE_NETWORKING creates a virtual network, so VIRTUAL_NETWORK_SUBNET has no use; set one of them.')
  : privateNetworking

// Each name is known before the deployment begins, so that a preview shows each resource.
var names = {
  app: 'func-${environmentName}-${token}'
  deadLetters: 'dead-letters'
  deployments: 'deployments'
  network: 'vnet-${environmentName}-${token}'
  outcomeTopic: 'evgt-${environmentName}-${token}'
  storage: empty(existingStorage) ? 'st${token}' : last(split(existingStorage, '/'))
}
var identityId = empty(existingIdentity)
  ? resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'id-${environmentName}-${token}')
  : existingIdentity
var logsId = empty(existingLogAnalytics)
  ? resourceId('Microsoft.OperationalInsights/workspaces', 'log-${environmentName}-${token}')
  : existingLogAnalytics
var applicationInsightsId = empty(existingApplicationInsights)
  ? resourceId('Microsoft.Insights/components', 'appi-${environmentName}-${token}')
  : existingApplicationInsights
var actionGroupId = !empty(existingActionGroup) || empty(emails)
  ? existingActionGroup
  : resourceId('Microsoft.Insights/actionGroups', 'ag-${environmentName}-${token}')
var planId = empty(existingPlan)
  ? resourceId('Microsoft.Web/serverfarms', 'plan-${environmentName}-${token}')
  : existingPlan
var storageId = resourceId('Microsoft.Storage/storageAccounts', names.storage)
var workspaceParts = map(workspaceIds, id => split(id, '/'))
var registryParts = map(registryIds, id => split(id, '/'))
var subscriptionIds = union(map(concat(workspaceParts, registryParts), parts => toLower(parts[2])), [])
// A system topic is in the group of its workspace, so that another environment can use it, and keeps it.
var topics = map(range(0, length(workspaceIds)), i => {
  existingId: i < length(topicIds) ? topicIds[i] : ''
  // A module needs a right on the group of its scope, also if it only reads there.
  groupParts: i < length(topicIds) && !empty(topicIds[i]) ? split(topicIds[i], '/') : workspaceParts[i]
  name: 'evgst-model-release-${uniqueString(workspaceIds[i])}'
})
var systemTopicIds = map(topics, topic => empty(topic.existingId)
  ? resourceId(topic.groupParts[2], topic.groupParts[4], 'Microsoft.EventGrid/systemTopics', topic.name)
  : topic.existingId)
// The scope of a module is evaluated even if its condition is false.
var noToken = '${subscription().id}/resourceGroups/none/providers/Microsoft.KeyVault/vaults/none/secrets/none'
var tokenParts = split(empty(azureDevOpsPatId) ? noToken : azureDevOpsPatId, '/')

resource workspaces 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = [for parts in workspaceParts: {
  scope: resourceGroup(parts[2], parts[4])
  name: parts[8]
}]

module identity 'modules/identity.bicep' = {
  params: {
    id: identityId
    create: empty(existingIdentity)
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    environmentName: environmentName
    location: location
    tags: allTags
    logsId: logsId
    createLogs: empty(existingLogAnalytics)
    applicationInsightsId: applicationInsightsId
    createApplicationInsights: empty(existingApplicationInsights)
    actionGroupId: actionGroupId
    createActionGroup: empty(existingActionGroup) && !empty(emails)
    alertEmails: emails
    pendingMinutes: alertPendingMinutes
    retentionInDays: logRetentionDays
    sourceCount: length(workspaceIds) + length(registryIds)
    catchUpSchedule: schedule
  }
}

module telemetryRole 'modules/telemetry-role.bicep' = if (assigned) {
  scope: resourceGroup(split(applicationInsightsId, '/')[2], split(applicationInsightsId, '/')[4])
  params: {
    applicationInsightsName: last(split(applicationInsightsId, '/'))
    identityId: identityId
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    monitoring
  ]
}

// The Log Analytics workspace of another team is not changed, so no right to change it is needed.
module savedQueries 'modules/saved-queries.bicep' = if (empty(existingLogAnalytics)) {
  params: {
    logsName: last(split(logsId, '/'))
  }
  dependsOn: [
    monitoring
  ]
}

module storage 'modules/storage.bicep' = {
  params: {
    name: names.storage
    create: empty(existingStorage)
    location: location
    tags: allTags
    redundancy: storageRedundancy
    lock: storageLock
    logsId: storageLog ? logsId : ''
    isPrivate: ownNetwork
    containerNames: [names.deployments, names.deadLetters]
  }
  dependsOn: [
    monitoring
  ]
}

module storageRoles 'modules/storage-roles.bicep' = if (assigned) {
  params: {
    storageName: names.storage
    identityId: identityId
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    storage
  ]
}

module network 'modules/network.bicep' = if (ownNetwork) {
  params: {
    name: names.network
    location: location
    tags: allTags
    addresses: virtualNetworkAddresses
    storageId: storageId
    vaultId: empty(azureDevOpsPatId) ? '' : resourceId(tokenParts[2], tokenParts[4], 'Microsoft.KeyVault/vaults', tokenParts[8])
  }
  dependsOn: [
    storage
  ]
}

module outcomeTopic 'modules/outcome-topic.bicep' = if (outcomeEvents) {
  params: {
    name: names.outcomeTopic
    location: location
    tags: allTags
    assignRole: assigned
    identityId: identityId
    principalId: identity.outputs.principalId
  }
}

module modelReaders 'modules/model-reader.bicep' = [for id in subscriptionIds: if (assigned) {
  scope: subscription(id)
}]

module workspaceRoles 'modules/workspace-role.bicep' = [for parts in workspaceParts: if (assigned) {
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

module registryRoles 'modules/registry-role.bicep' = [for parts in registryParts: if (assigned) {
  scope: resourceGroup(parts[2], parts[4])
  params: {
    registryName: parts[8]
    identityId: identityId
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    modelReaders
  ]
}]

module secretRole 'modules/secret-role.bicep' = if (assigned && !empty(azureDevOpsPatId)) {
  scope: resourceGroup(tokenParts[2], tokenParts[4])
  params: {
    vaultName: tokenParts[8]
    secretName: tokenParts[10]
    identityId: identityId
    principalId: identity.outputs.principalId
  }
}

module app 'modules/app.bicep' = {
  params: {
    name: names.app
    planId: planId
    createPlan: empty(existingPlan)
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
    amlRegistries: amlRegistries
    catchUpSchedule: schedule
    releaseMap: releaseMap
    azureDevOpsTimeoutSeconds: azureDevOpsTimeoutSeconds
    claimLeaseSeconds: claimLeaseSeconds
    firstRetrySeconds: firstRetrySeconds
    confirmModels: confirmModels
    operationsUrl: operationsUrl
    outcomeEvents: outcomeEvents
    outcomeTopicEndpoint: outcomeEvents ? outcomeTopic!.outputs.endpoint : ''
    openTelemetry: openTelemetry
    pythonVersion: appPythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    restrictAccess: restrictAccess
    operatorAddresses: operatorRanges
    virtualNetworkSubnet: ownNetwork
      ? resourceId('Microsoft.Network/virtualNetworks/subnets', names.network, 'app')
      : virtualNetworkSubnet
  }
  // The app reads the token and the models as soon as it has its settings.
  dependsOn: [
    network
    secretRole
    storageRoles
    workspaceRoles
    registryRoles
  ]
}

module systemTopics 'modules/system-topic.bicep' = [for (topic, i) in topics: {
  scope: resourceGroup(topic.groupParts[2], topic.groupParts[4])
  params: {
    name: topic.name
    tags: allTags
    workspaceId: workspaceIds[i]
    workspaceLocation: workspaces[i].location
    existingTopicId: topic.existingId
  }
}]

module topicAlerts 'modules/topic-alerts.bicep' = {
  params: {
    environmentName: environmentName
    tags: allTags
    systemTopicIds: systemTopicIds
    workspaceIds: workspaceIds
    actionGroupId: actionGroupId
    deliveryFailures: alertDeliveryFailures
  }
  dependsOn: [
    monitoring
    systemTopics
  ]
}

module deadLetterRoles 'modules/dead-letter-role.bicep' = [for (id, i) in systemTopicIds: if (assigned) {
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
output AZURE_RESOURCE_GROUP string = resourceGroup().name

@description('Name of the Function App.')
output FUNCTION_APP_NAME string = names.app

@description('Resource ID of the Function App.')
output FUNCTION_APP_ID string = resourceId('Microsoft.Web/sites', names.app)

@description('URL of the Function App.')
output FUNCTION_APP_URL string = app.outputs.url

@description('Name of the identity to add to the Azure DevOps organization.')
output IDENTITY_NAME string = last(split(identityId, '/'))

@description('Object ID of the identity.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Resource IDs of the system topics, in the order of the workspaces.')
output SYSTEM_TOPIC_IDS string[] = systemTopicIds

@description('Resource IDs of the workspaces.')
output WORKSPACE_IDS string[] = workspaceIds

@description('Resource ID of the storage account with the table of releases and the dead letters.')
output STORAGE_ID string = storageId

@description('Name of the container for dead letters.')
output DEAD_LETTER_CONTAINER string = names.deadLetters

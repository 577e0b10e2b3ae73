@description('Name of the azd environment.')
param environmentName string

@description('Tags.')
param tags object

@description('Resource ID of the Azure ML workspace.')
param workspaceId string

@description('Region of the workspace.')
param workspaceLocation string

@description('Resource ID of the existing system topic of the workspace, or empty.')
param existingTopicId string

@description('Name of the storage account.')
param storageName string

@description('Name of the container for dead letters.')
param deadLetterContainerName string

@description('Resource IDs of the action groups for alerts.')
param actionGroupIds string[]

var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var name = 'evgst-${environmentName}-${uniqueString(workspaceId)}'
var topicId = empty(existingTopicId) ? resourceId('Microsoft.EventGrid/systemTopics', name) : existingTopicId
var alerts = [
  {
    name: 'dead-lettered'
    metric: 'DeadLetteredCount'
    severity: 1
    threshold: 0
    window: 'PT5M'
    description: 'Event Grid could not deliver an event and stored it as a dead letter. The catch-up finds the model version within an hour.'
  }
  {
    name: 'dropped'
    metric: 'DroppedEventCount'
    severity: 1
    threshold: 0
    window: 'PT5M'
    description: 'Event Grid dropped an event because it could not store the dead letter. The catch-up finds the model version within an hour.'
  }
  {
    name: 'delivery-failures'
    metric: 'DeliveryAttemptFailCount'
    severity: 2
    threshold: 5
    window: 'PT15M'
    description: 'More than five deliveries to the app failed in 15 minutes.'
  }
]

// https://learn.microsoft.com/azure/event-grid/system-topics: one for each source, in the region of the source.
resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (empty(existingTopicId)) {
  name: name
  location: workspaceLocation
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: workspaceId
    topicType: 'Microsoft.MachineLearningServices.Workspaces'
  }
}

resource existingTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!empty(existingTopicId)) {
  scope: resourceGroup(split(topicId, '/')[2], split(topicId, '/')[4])
  name: last(split(topicId, '/'))
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: storage
  name: 'default'
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: blobs
  name: deadLetterContainerName
}

resource deadLetterRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadLetters.id, topicId, storageBlobDataContributor)
  scope: deadLetters
  properties: {
    principalId: empty(existingTopicId) ? topic!.identity.principalId : existingTopic!.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

resource metricAlerts 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in alerts: {
  name: 'alert-${environmentName}-${alert.name}-${uniqueString(workspaceId)}'
  location: 'global'
  tags: tags
  properties: {
    description: '${alert.description} Workspace: ${last(split(workspaceId, '/'))}.'
    severity: alert.severity
    enabled: true
    scopes: [
      topicId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: alert.window
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: alert.name
          metricNamespace: 'Microsoft.EventGrid/systemTopics'
          metricName: alert.metric
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: alert.threshold
        }
      ]
    }
    autoMitigate: true
    actions: [for id in actionGroupIds: {
      actionGroupId: id
    }]
  }
  dependsOn: [
    topic
  ]
}]

@description('Resource ID of the system topic.')
output id string = topicId

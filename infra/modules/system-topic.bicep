@description('Name of the azd environment.')
param environmentName string

@description('Tags.')
param tags { *: string }

@description('Resource ID of the Azure ML workspace.')
param workspaceId string

@description('Region of the workspace.')
param workspaceLocation string

@description('Resource ID of the existing system topic of the workspace, or empty.')
param existingTopicId string

@description('Name of the system topic if it is created.')
param name string

@description('Resource IDs of the action groups for alerts.')
param actionGroupIds string[]

var topicId = empty(existingTopicId) ? topic.id : existingTopicId
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

resource metricAlerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [for alert in alerts: {
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
      // The ID is an item of a parameter, which the rule does not follow.
      #disable-next-line use-resource-id-functions
      actionGroupId: id
    }]
  }
}]

@description('Object ID of the identity that writes the dead letters.')
output principalId string = empty(existingTopicId) ? topic!.identity.principalId : existingTopic!.identity.principalId

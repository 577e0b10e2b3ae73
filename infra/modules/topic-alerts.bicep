@description('Name of the azd environment.')
param environmentName string

@description('Tags.')
param tags { *: string }

@description('Resource IDs of the system topics.')
param systemTopicIds string[]

@description('Resource IDs of their workspaces.')
param workspaceIds string[]

@description('Resource ID of the action group, or empty.')
param actionGroupId string

@description('Number of failed deliveries in 15 minutes above which an alert fires.')
param deliveryFailures int

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
    threshold: deliveryFailures
    window: 'PT15M'
    description: 'More than ${deliveryFailures} deliveries to the app failed in 15 minutes.'
  }
]

// Three alerts for each topic.
var all = flatten(map(range(0, length(systemTopicIds)), i => map(alerts, alert => union(alert, {
  topicId: systemTopicIds[i]
  workspaceId: workspaceIds[i]
}))))

resource metricAlerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [for alert in all: {
  name: 'alert-${environmentName}-${alert.name}-${uniqueString(alert.workspaceId)}'
  location: 'global'
  tags: tags
  properties: {
    description: '${alert.description} Workspace: ${last(split(alert.workspaceId, '/'))}.'
    severity: alert.severity
    enabled: true
    scopes: [
      alert.topicId
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
    actions: empty(actionGroupId) ? [] : [
      {
        actionGroupId: actionGroupId
      }
    ]
  }
}]

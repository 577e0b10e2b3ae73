@description('Name of the azd environment.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

@description('Name of the Log Analytics workspace.')
param logsName string

@description('Name of the Application Insights component.')
param applicationInsightsName string

@description('Name of the action group, or empty.')
param actionGroupName string

@description('Email addresses for alerts; used only with an action group.')
param alertEmails string[]

@description('Resource ID of the app\'s identity.')
param identityId string

@description('Object ID of the app\'s identity.')
param principalId string

@description('Number of workspaces that the catch-up lists.')
param workspaceCount int

@description('Retention of the logs in days.')
@minValue(30)
@maxValue(730)
param retentionInDays int = 30

// The app logs each history entry, sweep and catch-up as one line of JSON.
var lines = 'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'
var entries = '${lines} | where tostring(line.event) == "history_entry" | project TimeGenerated, event_id = tostring(line.event_id), workspace = tostring(line.workspace), model = tostring(line.model), version = tostring(line.version), route = tostring(line.route), target = tostring(line.target), state = tostring(line.state), reason = tostring(line.reason), release_id = tostring(line.release_id), attempt = toint(line.attempt), milliseconds = tolong(line.milliseconds), OperationId'
var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

var logAlerts = [
  {
    name: 'refused-release'
    displayName: 'A release was refused'
    description: 'Azure DevOps or the target refused a release. The reason in the history shows what to change. The next attempt follows within an hour.'
    severity: 2
    query: '${entries} | where state == "refused"'
    window: 'PT15M'
    frequency: 'PT5M'
    timeAggregation: 'Count'
    measure: null
    operator: 'GreaterThan'
    threshold: 0
    dimensions: ['workspace', 'model', 'target']
  }
  {
    name: 'pending-claim'
    displayName: 'A claim is pending for more than an hour'
    description: 'A model version has been pending for more than an hour.'
    severity: 2
    query: '${lines} | where tostring(line.event) == "sweep" | summarize oldest_pending_seconds = max(tolong(line.oldest_pending_seconds))'
    window: 'PT15M'
    frequency: 'PT5M'
    timeAggregation: 'Maximum'
    measure: 'oldest_pending_seconds'
    operator: 'GreaterThan'
    threshold: 3600
    dimensions: []
  }
  {
    name: 'no-catch-up'
    displayName: 'No complete catch-up for two hours'
    description: 'A workspace was not listed completely for two hours, so lost events are not found. The alert also fires if the app does not run.'
    severity: 1
    query: '${lines} | where tostring(line.event) == "catch_up" and tobool(line.complete) | summarize workspaces = dcount(tostring(line.workspace))'
    window: 'PT2H'
    frequency: 'PT15M'
    timeAggregation: 'Minimum'
    measure: 'workspaces'
    operator: 'LessThan'
    threshold: workspaceCount
    dimensions: []
  }
  {
    name: 'no-sweep'
    displayName: 'No sweep for 30 minutes'
    description: 'The sweep runs every minute and did not end for 30 minutes, so pending claims are not attempted. The alert also fires if the app does not run.'
    severity: 1
    query: '${lines} | where tostring(line.event) == "sweep" | summarize sweeps = count()'
    window: 'PT30M'
    frequency: 'PT5M'
    timeAggregation: 'Minimum'
    measure: 'sweeps'
    operator: 'LessThan'
    threshold: 1
    dimensions: []
  }
  {
    name: 'cannot-start'
    displayName: 'Model Release cannot start'
    description: 'A setting or the release map is wrong, so that no release starts. The page of the app lists every fault. Event Grid keeps the events for a day.'
    severity: 1
    query: '${lines} | where tostring(line.event) == "cannot_start"'
    window: 'PT5M'
    frequency: 'PT5M'
    timeAggregation: 'Count'
    measure: null
    operator: 'GreaterThan'
    threshold: 0
    dimensions: []
  }
  {
    name: 'no-functions'
    displayName: 'The app has no functions'
    description: 'The code of the app cannot be loaded, so that each address answers 404. The exception of the host shows the reason. Event Grid keeps the events for a day.'
    severity: 1
    query: 'AppExceptions | where tostring(Properties.FormattedMessage) == "Worker failed to index functions"'
    window: 'PT5M'
    frequency: 'PT5M'
    timeAggregation: 'Count'
    measure: null
    operator: 'GreaterThan'
    threshold: 0
    dimensions: []
  }
]

var savedQueries = [
  {
    name: 'history-entries'
    displayName: 'History entries, newest first'
    query: '${entries} | order by TimeGenerated desc'
  }
  {
    name: 'one-model'
    displayName: 'History entries of one model (replace MODEL)'
    query: '${entries} | where model == "MODEL" | order by TimeGenerated desc'
  }
  {
    name: 'pending-or-abandoned'
    displayName: 'Claims that are pending or abandoned'
    query: '${entries} | where isnotempty(target) | summarize arg_max(TimeGenerated, *) by workspace, model, version, target | where state in ("starting", "waiting", "held", "refused", "unknown", "abandoned")'
  }
  {
    name: 'durations'
    displayName: 'Number and duration of history entries by hour'
    query: '${entries} | summarize total = count(), started = countif(state == "started"), p50 = percentile(milliseconds, 50), p95 = percentile(milliseconds, 95) by bin(TimeGenerated, 1h)'
  }
  {
    name: 'catch-ups'
    displayName: 'Catch-ups, newest first'
    query: '${lines} | where tostring(line.event) == "catch_up" | project TimeGenerated, workspace = tostring(line.workspace), listed = tolong(line.listed), started = tolong(line.started), complete = tobool(line.complete) | order by TimeGenerated desc'
  }
  {
    name: 'failed-deliveries'
    displayName: 'Failed deliveries with their exceptions'
    query: 'AppRequests | where Name == "model_registered" and Success == false | join kind=leftouter (AppExceptions | summarize reason = max(InnermostMessage) by OperationId) on OperationId | project TimeGenerated, DurationMs, reason, OperationId | order by TimeGenerated desc'
  }
]

resource logs 'Microsoft.OperationalInsights/workspaces@2026-03-01' = {
  name: logsName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionInDays
    features: {
      disableLocalAuth: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    DisableLocalAuth: true
  }
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(actionGroupName)) {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'modelrelease'
    enabled: true
    emailReceivers: [for (email, i) in alertEmails: {
      name: 'email-${i}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

// The tables do not exist before the first log line, so the queries cannot be validated at deployment.
resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [for alert in logAlerts: {
  name: 'alert-${environmentName}-${alert.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: alert.displayName
    description: alert.description
    severity: alert.severity
    enabled: true
    scopes: [
      logs.id
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: alert.timeAggregation
          metricMeasureColumn: alert.measure
          operator: alert.operator
          threshold: alert.threshold
          dimensions: map(alert.dimensions, dimension => {
            name: dimension
            operator: 'Include'
            values: ['*']
          })
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    skipQueryValidation: true
    actions: {
      actionGroups: empty(actionGroupName) ? [] : [actionGroup.id]
    }
  }
}]

resource queries 'Microsoft.OperationalInsights/workspaces/savedSearches@2026-03-01' = [for query in savedQueries: {
  parent: logs
  name: query.name
  properties: {
    category: 'Model Release'
    // Without it, a second deployment is refused with 409. The published type does not have it.
    // https://github.com/Azure/bicep-types-az/issues/1548
    #disable-next-line BCP037
    etag: '*'
    displayName: query.displayName
    query: query.query
  }
}]

resource telemetryRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, identityId, monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

@description('Connection string of the Application Insights component. It contains no key that is accepted.')
output connectionString string = applicationInsights.properties.ConnectionString

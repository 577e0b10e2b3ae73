@description('Name of the azd environment.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('What makes names unique.')
param token string

@description('Addresses that alerts are sent to, comma separated, or empty.')
param alertEmails string

@description('How many workspaces are caught up with.')
param workspaceCount int

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionInDays int = 30

// The app logs each decision, sweep and catch-up as one line of JSON.
var lines = 'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'
var decisions = '${lines} | where tostring(line.event) == "decision" | project TimeGenerated, event_id = tostring(line.event_id), workspace = tostring(line.workspace), model = tostring(line.model), version = tostring(line.version), route = tostring(line.route), target = tostring(line.target), decision = tostring(line.decision), reason = tostring(line.reason), release_id = tostring(line.release_id), attempt = toint(line.attempt), milliseconds = tolong(line.milliseconds), OperationId'
var emails = map(filter(split(alertEmails, ','), email => !empty(trim(email))), email => trim(email))
var actionGroups = empty(emails) ? [] : [actionGroup.id]

var logAlerts = [
  {
    name: 'refused-start'
    displayName: 'A start was refused'
    description: 'Azure DevOps or the release definition refused a release. A person must act; the reason says who. It is tried again every hour.'
    severity: 2
    query: '${decisions} | where decision == "refused"'
    window: 'PT15M'
    frequency: 'PT5M'
    timeAggregation: 'Count'
    measure: null
    operator: 'GreaterThan'
    threshold: 0
    dimensions: ['workspace', 'model', 'target']
  }
  {
    name: 'open-claim'
    displayName: 'A claim is open for more than an hour'
    description: 'A model version has waited for its release for more than an hour.'
    severity: 2
    query: '${lines} | where tostring(line.event) == "sweep" | summarize oldest_open_seconds = max(tolong(line.oldest_open_seconds))'
    window: 'PT15M'
    frequency: 'PT5M'
    timeAggregation: 'Maximum'
    measure: 'oldest_open_seconds'
    operator: 'GreaterThan'
    threshold: 3600
    dimensions: []
  }
  {
    name: 'no-catch-up'
    displayName: 'No catch-up for two hours'
    description: 'A workspace was not listed completely for two hours: events that were lost are not found. It fires also when the app does not run.'
    severity: 1
    query: '${lines} | where tostring(line.event) == "catch-up" and tobool(line.complete) | summarize workspaces = dcount(tostring(line.workspace))'
    window: 'PT2H'
    frequency: 'PT15M'
    timeAggregation: 'Minimum'
    measure: 'workspaces'
    operator: 'LessThan'
    threshold: workspaceCount
    dimensions: []
  }
]

var savedQueries = [
  {
    name: 'decisions'
    displayName: 'Decisions, newest first'
    query: '${decisions} | order by TimeGenerated desc'
  }
  {
    name: 'one-model'
    displayName: 'Everything about one model: put its name in'
    query: '${decisions} | where model == "MODEL" | order by TimeGenerated desc'
  }
  {
    name: 'needs-a-person'
    displayName: 'What is open or abandoned now'
    query: '${decisions} | where isnotempty(target) | summarize arg_max(TimeGenerated, *) by workspace, model, version, target | where decision in ("waiting", "refused", "unknown", "abandoned")'
  }
  {
    name: 'how-fast'
    displayName: 'Decisions and their time, by hour'
    query: '${decisions} | summarize decisions = count(), started = countif(decision == "started"), p50 = percentile(milliseconds, 50), p95 = percentile(milliseconds, 95) by bin(TimeGenerated, 1h)'
  }
  {
    name: 'catch-ups'
    displayName: 'Catch-ups: what was listed and released'
    query: '${lines} | where tostring(line.event) == "catch-up" | project TimeGenerated, workspace = tostring(line.workspace), listed = tolong(line.listed), released = tolong(line.released), complete = tobool(line.complete) | order by TimeGenerated desc'
  }
  {
    name: 'failures'
    displayName: 'Deliveries that failed, and why'
    query: 'AppRequests | where Name == "model_registered" and Success == false | join kind=leftouter (AppExceptions | project OperationId, ProblemId, OuterMessage) on OperationId | project TimeGenerated, DurationMs, ProblemId, OuterMessage | order by TimeGenerated desc'
  }
]

resource logs 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-${environmentName}-${token}'
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
  name: 'appi-${environmentName}-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    DisableLocalAuth: true
  }
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: 'ag-${environmentName}-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'modelrelease'
    enabled: true
    emailReceivers: [for (email, i) in emails: {
      name: 'email-${i}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

// The tables are there only after the first line, so the queries cannot be tried when the rules are made.
resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in logAlerts: {
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
      actionGroups: actionGroups
    }
  }
}]

resource queries 'Microsoft.OperationalInsights/workspaces/savedSearches@2025-02-01' = [for query in savedQueries: {
  parent: logs
  name: query.name
  properties: {
    category: 'Model Release'
    displayName: query.displayName
    query: query.query
  }
}]

@description('Name of the Application Insights component.')
output applicationInsightsName string = applicationInsights.name

@description('Resource ids of the action groups that alerts go to; none where no address is given.')
output actionGroupIds string[] = actionGroups

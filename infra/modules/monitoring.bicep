import { entries, lines } from 'log-lines.bicep'

@description('Name of the azd environment.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

@description('Resource ID of the Log Analytics workspace.')
param logsId string

@description('Whether the Log Analytics workspace is created; otherwise it exists.')
param createLogs bool

@description('Resource ID of the Application Insights component.')
param applicationInsightsId string

@description('Whether the component is created; otherwise it exists, and writes to the Log Analytics workspace.')
param createApplicationInsights bool

@description('Resource ID of the action group, or empty.')
param actionGroupId string

@description('Whether the action group is created; otherwise it exists.')
param createActionGroup bool

@description('Email addresses for alerts; used only with a created action group.')
param alertEmails string[]

@description('Minutes after which a pending claim fires an alert.')
param pendingMinutes int

@description('Number of workspaces and registries that the catch-up lists.')
param sourceCount int

@description('Schedule of the catch-up.')
param catchUpSchedule string

@description('Retention of the logs in days.')
param retentionInDays int

// The longest time between two catch-ups in minutes, of the usual schedules; of all others, a day.
var scheduleFields = filter(split(catchUpSchedule, ' '), field => !empty(field))
var everyMinutes = startsWith(scheduleFields[1], '*/')
var everyHours = startsWith(scheduleFields[2], '*/')
var catchUpMinutes = scheduleFields[2] == '*' ? (scheduleFields[1] == '*' ? 1 : everyMinutes ? int(substring(scheduleFields[1], 2)) : 60) : (everyHours ? 60 * int(substring(scheduleFields[2], 2)) : 1440)
// Two runs may fail, and one may last ten minutes. Azure allows these windows.
var catchUpWindow = first(filter(
  [
    { minutes: 15, window: 'PT15M' }
    { minutes: 30, window: 'PT30M' }
    { minutes: 45, window: 'PT45M' }
    { minutes: 60, window: 'PT1H' }
    { minutes: 120, window: 'PT2H' }
    { minutes: 180, window: 'PT3H' }
    { minutes: 240, window: 'PT4H' }
    { minutes: 300, window: 'PT5H' }
    { minutes: 360, window: 'PT6H' }
    { minutes: 1440, window: 'P1D' }
    { minutes: 1000000, window: 'P2D' }
  ],
  one => one.minutes >= 3 * catchUpMinutes + 10
))!.window

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
    displayName: 'A claim is pending for more than ${pendingMinutes} minutes'
    description: 'A model version has been pending for more than ${pendingMinutes} minutes.'
    severity: 2
    query: '${lines} | where tostring(line.event) == "sweep" | summarize oldest_pending_seconds = max(tolong(line.oldest_pending_seconds))'
    window: 'PT15M'
    frequency: 'PT5M'
    timeAggregation: 'Maximum'
    measure: 'oldest_pending_seconds'
    operator: 'GreaterThan'
    threshold: pendingMinutes * 60
    dimensions: []
  }
  {
    name: 'no-catch-up'
    displayName: 'No complete catch-up'
    description: 'A workspace or registry was not listed completely for more than three periods of the catch-up, so lost events are not found. The alert also fires if the app does not run.'
    severity: 1
    query: '${lines} | where tostring(line.event) == "catch_up" and tobool(line.complete) | summarize workspaces = dcount(tostring(line.workspace))'
    window: catchUpWindow
    frequency: 'PT15M'
    timeAggregation: 'Minimum'
    measure: 'workspaces'
    operator: 'LessThan'
    threshold: sourceCount
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

resource logs 'Microsoft.OperationalInsights/workspaces@2026-03-01' = if (createLogs) {
  name: last(split(logsId, '/'))
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

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = if (createApplicationInsights) {
  name: last(split(applicationInsightsId, '/'))
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logsId
    DisableLocalAuth: true
  }
  dependsOn: [
    logs
  ]
}

resource existingComponent 'Microsoft.Insights/components@2020-02-02' existing = if (!createApplicationInsights) {
  scope: resourceGroup(split(applicationInsightsId, '/')[2], split(applicationInsightsId, '/')[4])
  name: last(split(applicationInsightsId, '/'))
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (createActionGroup) {
  name: last(split(actionGroupId, '/'))
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
      logsId
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
      actionGroups: empty(actionGroupId) ? [] : [actionGroupId]
    }
  }
  dependsOn: [
    actionGroup
    logs
  ]
}]

@description('Connection string of the Application Insights component. It contains no key that is accepted.')
output connectionString string = createApplicationInsights
  ? applicationInsights!.properties.ConnectionString
  : existingComponent!.properties.ConnectionString

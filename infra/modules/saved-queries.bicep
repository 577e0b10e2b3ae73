@description('Name of the Log Analytics workspace.')
param logsName string

import { entries, lines } from 'log-lines.bicep'

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

resource logs 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: logsName
}

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

// The app logs each history entry, sweep and catch-up as one line of JSON.
@export()
var lines = 'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'

@export()
var entries = '${lines} | where tostring(line.event) == "history_entry" | project TimeGenerated, event_id = tostring(line.event_id), workspace = tostring(line.workspace), model = tostring(line.model), version = tostring(line.version), route = tostring(line.route), target = tostring(line.target), state = tostring(line.state), reason = tostring(line.reason), release_id = tostring(line.release_id), attempt = toint(line.attempt), milliseconds = tolong(line.milliseconds), OperationId'

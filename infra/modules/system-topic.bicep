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
  scope: resourceGroup(split(existingTopicId, '/')[2], split(existingTopicId, '/')[4])
  name: last(split(existingTopicId, '/'))
}

@description('Object ID of the identity that writes the dead letters.')
output principalId string = empty(existingTopicId) ? topic!.identity.principalId : existingTopic!.identity.principalId

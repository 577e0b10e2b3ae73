@description('Name of the event subscription.')
param name string

@description('Name of the system topic.')
param systemTopicName string

@description('Resource ID of the Function App.')
param functionAppId string

@description('Resource ID of the storage account for dead letters.')
param storageId string

@description('Name of the container for dead letters.')
param deadLetterContainerName string

var appParts = split(functionAppId, '/')

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopicName
}

// The release map filters by model and records the reason in the history. A filter here would leave no record.
resource eventSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: resourceId(
          appParts[2],
          appParts[4],
          'Microsoft.Web/sites/functions',
          appParts[8],
          'model_registered'
        )
        maxEventsPerBatch: 1
      }
    }
    filter: {
      includedEventTypes: [
        'Microsoft.MachineLearningServices.ModelRegistered'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storageId
          blobContainerName: deadLetterContainerName
        }
      }
    }
  }
}

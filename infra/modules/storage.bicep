@description('Name.')
param name string

@description('Whether it is created; otherwise it exists, and only the containers are created.')
param create bool

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

@description('Redundancy.')
param redundancy 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' | 'Standard_GZRS'

@description('Whether a lock keeps the account from being deleted.')
param lock bool

@description('Resource ID of the Log Analytics workspace for each change of a record, or empty.')
param logsId string

@description('Whether only private endpoints and trusted services reach it.')
param isPrivate bool

@description('Names of the containers.')
param containerNames string[]

resource account 'Microsoft.Storage/storageAccounts@2026-04-01' = if (create) {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      // Event Grid writes the dead letters as a trusted service.
      bypass: 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource existingAccount 'Microsoft.Storage/storageAccounts@2026-04-01' existing = if (!create) {
  name: name
}

// Blobs that are deleted by mistake come back for a week. Tables have no such feature.
resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-04-01' = if (create) {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-04-01' = [for container in containerNames: {
  name: '${name}/default/${container}'
  dependsOn: [
    blobs
  ]
}]

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2026-04-01' existing = {
  parent: account
  name: 'default'
}

// The version that is not a preview has no categories of storage.
#disable-next-line use-recent-api-versions
resource log 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(logsId)) {
  name: 'model-release'
  scope: tables
  properties: {
    workspaceId: logsId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

resource deleteLock 'Microsoft.Authorization/locks@2020-05-01' = if (create && lock) {
  name: 'model-release'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'The account contains the record of each release. Remove this lock before you remove Model Release.'
  }
}

@description('Endpoint of the blobs.')
output blobEndpoint string = create
  ? account!.properties.primaryEndpoints.blob
  : existingAccount!.properties.primaryEndpoints.blob

@description('Endpoint of the tables.')
output tableEndpoint string = create
  ? account!.properties.primaryEndpoints.table
  : existingAccount!.properties.primaryEndpoints.table

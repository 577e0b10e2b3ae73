@description('Name of the azd environment.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Suffix that makes names unique.')
param token string

@description('Name of the app\'s identity.')
param identityName string

@description('Name of the storage account.')
param storageName string

@description('Name of the container for the deployed package.')
param deploymentContainerName string

@description('Name of the Application Insights component.')
param applicationInsightsName string

@description('URL of the Azure DevOps organization or collection.')
param azureDevOpsUrl string

@description('Resource ID of the Key Vault secret with a personal access token, or empty.')
param azureDevOpsPatSecret string

@description('Resource IDs of the Azure ML workspaces, comma-separated.')
param amlWorkspaces string

@description('Path of the release map.')
param releaseMap string

@description('Timeout of one request to Azure DevOps in seconds.')
param azureDevOpsTimeoutSeconds string

@description('Lease of one attempt in seconds.')
param claimLeaseSeconds string

@description('Seconds until the second attempt.')
param firstRetrySeconds string

@description('Endpoint of the topic for outcome events, or empty.')
param outcomeTopicEndpoint string

@description('Whether the Python worker exports OpenTelemetry.')
param openTelemetry bool

@description('Whether to restrict access to Event Grid and the operators.')
param restrictAccess bool

@description('Address ranges of the operators, comma-separated.')
param operatorAddresses string

@description('Resource ID of the subnet for outbound calls, or empty.')
param virtualNetworkSubnet string

@description('Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

@description('Maximum number of instances.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var secretParts = split(azureDevOpsPatSecret, '/')
var operators = map(filter(split(operatorAddresses, ','), address => !empty(trim(address))), address => trim(address))
var operatorRules = [for (address, i) in operators: {
  name: 'operator-${i}'
  action: 'Allow'
  ipAddress: address
  priority: 200 + i
}]

var alwaysSettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  AZURE_DEVOPS_URL: azureDevOpsUrl
  AML_WORKSPACES: amlWorkspaces
  AZURE_RESOURCE_MANAGER_URL: environment().resourceManager
  RELEASE_MAP: releaseMap
  AZURE_DEVOPS_TIMEOUT_SECONDS: azureDevOpsTimeoutSeconds
  CLAIM_LEASE_SECONDS: claimLeaseSeconds
  FIRST_RETRY_SECONDS: firstRetrySeconds
}
var tokenSettings = empty(azureDevOpsPatSecret) ? {} : {
  AZURE_DEVOPS_PAT: '@Microsoft.KeyVault(VaultName=${secretParts[8]};SecretName=${secretParts[10]})'
}
var outcomeSettings = empty(outcomeTopicEndpoint) ? {} : {
  OUTCOME_TOPIC_ENDPOINT: outcomeTopicEndpoint
}
var telemetrySettings = openTelemetry ? {
  PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
  // Without it the host and the worker both export the same telemetry.
  AzureFunctionsJobHost__telemetryMode: 'OpenTelemetry'
} : {}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource telemetryRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, identity.id, monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-${environmentName}-${token}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-${environmentName}-${token}'
  location: location
  tags: union(tags, { 'azd-service-name': 'model-release' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identity.id
    virtualNetworkSubnetId: empty(virtualNetworkSubnet) ? null : virtualNetworkSubnet
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${deploymentContainerName}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      ipSecurityRestrictionsDefaultAction: restrictAccess ? 'Deny' : 'Allow'
      ipSecurityRestrictions: restrictAccess ? concat([
        {
          name: 'event-grid'
          action: 'Allow'
          tag: 'ServiceTag'
          ipAddress: 'AzureEventGrid'
          priority: 100
        }
      ], operatorRules) : []
      scmIpSecurityRestrictionsDefaultAction: restrictAccess ? 'Deny' : 'Allow'
      scmIpSecurityRestrictions: restrictAccess ? operatorRules : []
      scmIpSecurityRestrictionsUseMain: false
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'appsettings'
  properties: union(alwaysSettings, tokenSettings, outcomeSettings, telemetrySettings)
}

resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

@description('Resource ID of the Function App.')
output id string = site.id

@description('Name of the Function App.')
output name string = site.name

@description('URL of the Function App.')
output url string = 'https://${site.properties.defaultHostName}'

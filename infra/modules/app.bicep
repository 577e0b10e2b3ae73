@description('Name.')
param name string

@description('Resource ID of the plan.')
param planId string

@description('Whether the plan is created; otherwise it exists.')
param createPlan bool

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

@description('Resource ID of the app\'s identity.')
param identityId string

@description('Client ID of the app\'s identity.')
param clientId string

@description('Endpoint of the blobs.')
param blobEndpoint string

@description('Endpoint of the tables.')
param tableEndpoint string

@description('Name of the container for the deployed package.')
param deploymentContainerName string

@description('Connection string of the Application Insights component.')
param applicationInsightsConnectionString string

@description('URL of the Azure DevOps organization or collection.')
param azureDevOpsUrl string

@description('Resource ID of the Key Vault secret with a personal access token, or empty.')
param azureDevOpsPatId string

@description('Resource IDs of the Azure ML workspaces, comma-separated.')
param amlWorkspaces string

@description('Resource IDs of the Azure ML registries, comma-separated, or empty.')
param amlRegistries string

@description('Schedule of the catch-up.')
param catchUpSchedule string

@description('Path of the release map.')
param releaseMap string

@description('Timeout of one request to Azure DevOps in seconds.')
param azureDevOpsTimeoutSeconds string

@description('Lease of one attempt in seconds.')
param claimLeaseSeconds string

@description('Seconds until the second attempt.')
param firstRetrySeconds string

@description('Whether Azure ML must confirm an event before a release is created.')
param confirmModels bool

@description('Address of the page where the team reads docs/operations.md, or empty.')
param operationsUrl string

@description('Whether outcome events are published.')
param outcomeEvents bool

@description('Endpoint of the topic for outcome events; used only if they are published.')
param outcomeTopicEndpoint string

@description('Whether the Python worker exports OpenTelemetry.')
param openTelemetry bool

@description('Whether to restrict access to Event Grid and the operators.')
param restrictAccess bool

@description('Address ranges of the operators.')
param operatorAddresses string[]

@description('Resource ID of the subnet for outbound calls, or empty.')
param virtualNetworkSubnet string

@description('Version of Python.')
param pythonVersion string

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Maximum number of instances of each function.')
param maximumInstanceCount int

@description('Number of instances of model_registered that are always ready.')
param alwaysReadyInstances int

var secretParts = split(azureDevOpsPatId, '/')
var operatorRules = [for (address, i) in operatorAddresses: {
  name: 'operator-${i}'
  action: 'Allow'
  ipAddress: address
  priority: 200 + i
}]

var alwaysSettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: clientId
  AzureWebJobsStorage__blobServiceUri: blobEndpoint
  AzureWebJobsStorage__tableServiceUri: tableEndpoint
  // The default page of the host shows that the app exists.
  AzureWebJobsDisableHomepage: 'true'
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${clientId};Authorization=AAD'
  AZURE_DEVOPS_URL: azureDevOpsUrl
  AML_WORKSPACES: amlWorkspaces
  AML_REGISTRIES: amlRegistries
  CATCH_UP_SCHEDULE: catchUpSchedule
  AZURE_RESOURCE_MANAGER_URL: environment().resourceManager
  RELEASE_MAP: releaseMap
  AZURE_DEVOPS_TIMEOUT_SECONDS: azureDevOpsTimeoutSeconds
  CLAIM_LEASE_SECONDS: claimLeaseSeconds
  FIRST_RETRY_SECONDS: firstRetrySeconds
  CONFIRM_MODELS: confirmModels ? 'true' : 'false'
  OPERATIONS_URL: operationsUrl
}
var tokenSettings = empty(azureDevOpsPatId) ? {} : {
  AZURE_DEVOPS_PAT: '@Microsoft.KeyVault(VaultName=${secretParts[8]};SecretName=${secretParts[10]})'
}
var outcomeSettings = outcomeEvents ? {
  OUTCOME_TOPIC_ENDPOINT: outcomeTopicEndpoint
} : {}
var telemetrySettings = openTelemetry ? {
  PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
  // Without it the host and the worker both export the same telemetry.
  AzureFunctionsJobHost__telemetryMode: 'OpenTelemetry'
} : {}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = if (createPlan) {
  name: last(split(planId, '/'))
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

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'model-release' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: planId
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(virtualNetworkSubnet) ? null : virtualNetworkSubnet
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstances == 0 ? [] : [
          {
            name: 'function:model_registered'
            instanceCount: alwaysReadyInstances
          }
        ]
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${blobEndpoint}${deploymentContainerName}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
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
    }
  }
  dependsOn: [
    plan
  ]
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: site
  name: 'appsettings'
  properties: union(alwaysSettings, tokenSettings, outcomeSettings, telemetrySettings)
}

resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

@description('URL of the Function App.')
output url string = 'https://${site.properties.defaultHostName}'

@description('Name.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags { *: string }

@description('Address range, at least a /25: one half is for the app, the other for the private endpoints.')
param addresses string

@description('Resource ID of the storage account.')
param storageId string

@description('Resource ID of the Key Vault, or empty.')
param vaultId string

// https://learn.microsoft.com/azure/private-link/private-endpoint-dns
// environment() is unknown before the deployment, and so would be the names of the zones.
#disable-next-line no-hardcoded-env-urls
var suffix = 'core.windows.net'
var vaultServices = empty(vaultId) ? [] : [
  {
    group: 'vault'
    zone: 'privatelink.vaultcore.azure.net'
    id: vaultId
  }
]
var services = concat([
  {
    group: 'blob'
    zone: 'privatelink.blob.${suffix}'
    id: storageId
  }
  {
    group: 'table'
    zone: 'privatelink.table.${suffix}'
    id: storageId
  }
], vaultServices)
var half = int(split(addresses, '/')[1]) + 1

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addresses]
    }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addresses, half, 0)
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'private-endpoints'
        properties: {
          addressPrefix: cidrSubnet(addresses, half, 1)
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for service in services: {
  name: service.zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (service, i) in services: {
  parent: zones[i]
  name: name
  location: 'global'
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: network.id
    }
  }
}]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [for service in services: {
  name: 'pe-${name}-${service.group}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: resourceId('Microsoft.Network/virtualNetworks/subnets', name, 'private-endpoints')
    }
    privateLinkServiceConnections: [
      {
        name: service.group
        properties: {
          privateLinkServiceId: service.id
          groupIds: [service.group]
        }
      }
    ]
  }
  dependsOn: [
    network
  ]
}]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [for (service, i) in services: {
  parent: endpoints[i]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: service.group
        properties: {
          privateDnsZoneId: zones[i].id
        }
      }
    ]
  }
}]

# Deploy a template to the subscription. What was just made takes minutes to be known everywhere.
$ErrorActionPreference = 'Stop'

function Deploy([string] $Template, [hashtable] $Parameters) {
  # az is a batch file on Windows, which takes the quotes out of JSON: parameters are handed over in a file.
  $file = New-TemporaryFile
  $values = @{}
  foreach ($name in $Parameters.Keys) { $values[$name] = @{ value = $Parameters[$name] } }
  @{ parameters = $values } | ConvertTo-Json -Depth 5 | Set-Content -Path $file

  foreach ($try in 1..5) {
    az deployment sub create --only-show-errors --output none `
      --subscription $env:AZURE_SUBSCRIPTION_ID --location $env:AZURE_LOCATION `
      --name "model-release-$env:AZURE_ENV_NAME-$Template" --template-file "$PSScriptRoot/../$Template.bicep" `
      --parameters "@$file"
    if ($LASTEXITCODE -eq 0) { break }
    if ($try -lt 5) { Start-Sleep -Seconds 30 }
  }
  $result = $LASTEXITCODE
  Remove-Item $file
  if ($result -ne 0) { throw "The deployment of $Template.bicep failed." }
}

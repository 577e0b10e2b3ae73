# Deploy a template to the subscription. Retry, because a new resource takes minutes to be visible everywhere.
$ErrorActionPreference = 'Stop'

function Deploy([string] $Template, [hashtable] $Parameters) {
  # On Windows az is a batch file, which removes the quotes from JSON, so the parameters are in a file.
  $file = New-TemporaryFile
  $values = @{}
  foreach ($name in $Parameters.Keys) { $values[$name] = @{ value = $Parameters[$name] } }
  @{ parameters = $values } | ConvertTo-Json -Depth 5 | Set-Content -Path $file

  foreach ($attempt in 1..5) {
    az deployment sub create --only-show-errors --output none `
      --subscription $env:AZURE_SUBSCRIPTION_ID --location $env:AZURE_LOCATION `
      --name "model-release-$env:AZURE_ENV_NAME-$Template" --template-file "$PSScriptRoot/../$Template.bicep" `
      --parameters "@$file"
    if ($LASTEXITCODE -eq 0) { break }
    if ($attempt -lt 5) { Start-Sleep -Seconds 30 }
  }
  $result = $LASTEXITCODE
  Remove-Item $file
  if ($result -ne 0) { throw "The deployment of $Template.bicep failed; see the message of az above." }
}

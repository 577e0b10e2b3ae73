# deploy TEMPLATE PARAMETER=VALUE...: deploy a template to the subscription. What was just made takes minutes to be known everywhere.
infra=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

deploy() {
  template=$1
  shift
  tries=1
  until az deployment sub create --only-show-errors --output none \
    --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
    --name "model-release-$AZURE_ENV_NAME-$template" --template-file "$infra/$template.bicep" --parameters "$@"; do
    [ "$tries" -lt 5 ] || return 1
    tries=$((tries + 1))
    sleep "${RETRY_SECONDS:-30}"
  done
}

# deploy TEMPLATE PARAMETER=VALUE...: deploy a template to the subscription. Retry, because a new resource takes minutes to be visible
# everywhere.
infra=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

deploy() {
  template=$1
  shift
  attempt=1
  until az deployment sub create --only-show-errors --output none \
    --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
    --name "model-release-$AZURE_ENV_NAME-$template" --template-file "$infra/$template.bicep" --parameters "$@"; do
    [ "$attempt" -lt 5 ] || return 1
    attempt=$((attempt + 1))
    sleep "${RETRY_SECONDS:-30}"
  done
}

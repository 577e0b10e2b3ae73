"""The app's HTTP API (docs/openapi.yaml), and what the commands that use it share."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from model_release.domain.events import NAME
from model_release.text import network_reason, visible

STYLES = {
    "started": "green",
    "starting": "cyan",
    "waiting": "yellow",
    "unknown": "yellow",
    "refused": "red",
    "abandoned": "red",
}
_GET_THE_KEY = (
    "Set a host key with --key or MODEL_RELEASE_KEY:\n"
    "az functionapp keys list -g GROUP -n APP --query functionKeys.default -o tsv"
)
_NO_FUNCTION = (
    "Use the address of the app without a path. If it is correct, the app could not start: "
    "its log lists every fault of the settings and the release map."
)
TIMEOUT_SECONDS = 120
# Repeating any of the requests is harmless: a start has an idempotency key.
_REPEAT = Retry(total=2, backoff_factor=0.1, allowed_methods=None, status_forcelist=(502, 504), raise_on_status=False)

url_option = click.option(
    "--url",
    default="http://127.0.0.1:7071",
    show_default=True,
    envvar="MODEL_RELEASE_URL",
    show_envvar=True,
    help="The address of the app.",
)
key_option = click.option("--key", envvar="MODEL_RELEASE_KEY", show_envvar=True, help="A host key of the app.")


def _model_version(_: click.Context, __: click.Parameter, text: str) -> tuple[str, str]:
    model, _colon, version = text.partition(":")
    if not (NAME.fullmatch(model) and NAME.fullmatch(version)):
        raise click.BadParameter(f"{text!r} is not MODEL:VERSION, such as fraud_model:3")
    return model, version


model_version_argument = click.argument("model_version", metavar="MODEL:VERSION", callback=_model_version)


class AppClient:
    """The app; every method raises click.ClickException."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json"} | ({"x-functions-key": key} if key else {}))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_REPEAT))

    def history(self, **query: Any) -> dict[str, Any]:
        """Return one page of the history."""
        return self._request("GET", "/api/releases", query)

    def model_versions(self, model: str, version: str, workspace: str | None) -> list[dict[str, Any]]:
        """Return the details of a model version, from each workspace that has one."""
        found = self._request("GET", _path(model, version), {"workspace": workspace})
        return list(found["model_versions"])

    def start(self, detail: Mapping[str, Any], **body: str) -> list[dict[str, Any]]:
        """Restart a claim, try it now, or match the version again; return the history entries."""
        path, workspace = _path(detail["model"], detail["version"]), detail["workspace"]
        return list(self._request("POST", path, {"workspace": workspace}, json=body)["entries"])

    def _request(self, method: str, path: str, query: Mapping[str, Any], **body: Any) -> dict[str, Any]:
        try:
            response = self._session.request(
                method,
                f"{self._url}{path}",
                params=query,
                timeout=(10, TIMEOUT_SECONDS),
                # A redirect would pass the key to another address.
                allow_redirects=False,
                **body,
            )
        except (requests.RequestException, UnicodeError) as error:
            raise unreachable(self._url, error) from error
        try:
            content = response.json()
        except ValueError:
            content = None
        if response.ok and isinstance(content, dict):
            return content
        raise click.ClickException(_problem(response, content, self._url))


def unreachable(url: str, error: Exception) -> click.ClickException:
    """Report why a request got no answer."""
    if isinstance(error, requests.exceptions.InvalidHeader):
        return click.ClickException("The key is not valid: it begins with a space or contains a line break.")
    # `requests` raises a ValueError only for addresses and headers.
    reason = "not an HTTP address" if isinstance(error, ValueError) else network_reason(error, TIMEOUT_SECONDS)
    return click.ClickException(
        f"{url} cannot be reached: {reason}. Is the app running? Set its address with --url or MODEL_RELEASE_URL."
    )


def utc(time: str) -> str:
    """Format a time of the API for people."""
    return time.replace("T", " ").removesuffix("Z")


def _path(model: str, version: str) -> str:
    return f"/api/releases/{quote(model)}/{quote(version)}"


def _problem(response: requests.Response, content: Any, url: str) -> str:
    status, missing = response.status_code, requests.codes.not_found
    if isinstance(content, dict) and content.get("error"):
        error = visible(str(content["error"]))
        return f"{error}\nDid its event arrive? `history --ignored` lists every event." if status == missing else error
    if status == requests.codes.unauthorized:
        return f"{url} does not accept the key. {_GET_THE_KEY}"
    if status == missing:
        return f"{url} has no such function. {_NO_FUNCTION}"
    location = response.headers.get("Location")
    return f"{url} answered {status}" + (f" and redirects to {visible(location)}; use that address" if location else "")

"""The app's HTTP API, as docs/openapi.yaml describes it, and what the commands that use it share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import click
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from model_release.domain.events import NAME
from model_release.web.views import visible

STYLES = {
    "started": "green",
    "starting": "cyan",
    "waiting": "yellow",
    "unknown": "yellow",
    "refused": "red",
    "abandoned": "red",
}
_NAME_IT = "Is the app running there? Its address is given by --url or MODEL_RELEASE_URL."
_GIVE_A_KEY = (
    "A host key is given by --key or MODEL_RELEASE_KEY:\n"
    "az functionapp keys list -g GROUP -n APP --query functionKeys.default -o tsv"
)
_NO_FUNCTION = (
    "Is it the address of Model Release, without a path? If it is, the app could not start: "
    "its log lists every fault of the settings and the release map."
)
_F = TypeVar("_F", bound=Callable[..., Any])
_TIMEOUT = (10, 120)
# A wish starts one release however often it comes, and so may every request be repeated.
_REPEAT = Retry(total=2, backoff_factor=0.1, allowed_methods=None, status_forcelist=(502, 504), raise_on_status=False)


def app_options(command: _F) -> _F:
    """Which app is asked, and with which key."""
    url = click.option(
        "--url",
        default="http://127.0.0.1:7071",
        show_default=True,
        envvar="MODEL_RELEASE_URL",
        show_envvar=True,
        help="The address of the app.",
    )
    key = click.option("--key", envvar="MODEL_RELEASE_KEY", show_envvar=True, help="A host key of the app.")
    return url(key(command))


class ModelVersion(click.ParamType[tuple[str, str]]):
    """MODEL:VERSION."""

    name = "MODEL:VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read it as the name and the version."""
        model, _, version = str(value).partition(":")
        if not (NAME.fullmatch(model) and NAME.fullmatch(version)):
            self.fail(f"{value!r} is not MODEL:VERSION, such as fraud_model:3", param, ctx)
        return model, version


class App:
    """The app; every method raises click.ClickException with what to do."""

    def __init__(self, url: str, key: str | None) -> None:
        """Take the address of the app, and a key where it wants one."""
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json"} | ({"x-functions-key": key} if key else {}))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_REPEAT))

    def history(self, **wanted: Any) -> dict[str, Any]:
        """One page of the history."""
        return self._ask("GET", "/api/releases", wanted)

    def stories(self, model: str, version: str, workspace: str | None) -> list[dict[str, Any]]:
        """The story of a model version in each workspace that has it."""
        found = self._ask("GET", _path(model, version), {"workspace": workspace})
        return list(found["stories"])

    def start(self, story: Mapping[str, Any], **wanted: str) -> dict[str, Any]:
        """Start again, try now, or ask the map again."""
        path, workspace = _path(story["model"], story["version"]), story["workspace"]
        return self._ask("POST", path, {"workspace": workspace}, json=wanted)

    def _ask(self, method: str, path: str, parameters: Mapping[str, Any], **body: Any) -> dict[str, Any]:
        try:
            answer = self._session.request(
                method,
                f"{self._url}{path}",
                params=parameters,
                timeout=_TIMEOUT,
                # The key goes nowhere but to the address that was named.
                allow_redirects=False,
                **body,
            )
        except (requests.RequestException, UnicodeError) as error:
            msg = f"{self._url} does not answer: {error}\n{_NAME_IT}"
            raise click.ClickException(msg) from error
        try:
            told = answer.json()
        except ValueError:
            told = None
        if answer.ok and isinstance(told, dict):
            return told
        raise click.ClickException(_why(answer, told, self._url))


def when(text: str) -> str:
    """A time of the app's, as people read it."""
    return text.replace("T", " ").removesuffix("Z")


def _path(model: str, version: str) -> str:
    return f"/api/releases/{quote(model)}/{quote(version)}"


def _why(answer: requests.Response, told: Any, url: str) -> str:
    status, missing = answer.status_code, requests.codes.not_found
    if isinstance(told, dict) and told.get("error"):
        error = visible(str(told["error"]))
        return f"{error}\nDid an event come? `history --ignored` shows all that did." if status == missing else error
    if status == requests.codes.unauthorized:
        return f"{url} does not accept the key. {_GIVE_A_KEY}"
    if status == missing:
        return f"{url} has no such function. {_NO_FUNCTION}"
    elsewhere = answer.headers.get("Location")
    return f"{url} answers {status}" + (f" and points to {elsewhere}: name that" if elsewhere else "")

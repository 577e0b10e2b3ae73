"""The app's HTTP API (docs/openapi.yaml), and what the commands that use it share."""

import getpass
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from model_release.cli.terminal import show_json, show_text
from model_release.domain.events import NAME
from model_release.session import CredentialSession, is_exposed
from model_release.text import keep_secret, network_reason, shorten

Json = dict[str, Any]

_GET_THE_KEY = (
    "Set MODEL_RELEASE_KEY to a host key:\n"
    "export MODEL_RELEASE_KEY=$(az functionapp keys list -g GROUP -n APP --query functionKeys.default -o tsv)"
)
_NO_FUNCTION = (
    "Use the address of the app without a path. If it is correct, the app could not start: "
    "its log lists every fault of the settings and the release map."
)
TIMEOUT_SECONDS = 120
# Repeating any of the requests is harmless: a start has an idempotency key, and a mark is not set back twice.
_REPEAT = Retry(total=2, backoff_factor=0.1, allowed_methods=None, status_forcelist=(502, 504), raise_on_status=False)

key_option = click.option(
    "--key", envvar="MODEL_RELEASE_KEY", show_envvar=True, help="A host key; prefer the variable."
)
workspace_option = click.option(
    "--workspace", help="The name or the resource ID of the workspace or registry, if several have this version."
)
target_option = click.option(
    "--target", help="PROJECT/DEFINITION as `show` prints it, if the version has claims on several targets."
)
comment_option = click.option("--comment", required=True, help="Why, for the history: 1 to 500 characters.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def user() -> str:
    """Return the name of the signed-in user of this machine; raises click.UsageError if it has none."""
    try:
        return getpass.getuser()
    # Python before 3.13 raises KeyError if the user has no name, and ImportError on Windows.
    except (OSError, KeyError, ImportError) as error:
        raise click.UsageError("This machine has no name for the signed-in user; set --by.") from error


by_option = click.option(
    "--by",
    default=user,
    show_default="the name of the signed-in user of this machine",
    help="Who you are, for the history: 1 to 100 characters.",
)


def model_and_version(text: str) -> tuple[str, str] | None:
    """Read MODEL:VERSION; None if it is something else."""
    model, _, version = text.partition(":")
    return (model, version) if NAME.fullmatch(model) and NAME.fullmatch(version) else None


def _model_version(_: click.Context, __: click.Parameter, text: str) -> tuple[str, str]:
    if found := model_and_version(text):
        return found
    raise click.BadParameter(f"{shorten(text)!r} is not MODEL:VERSION, such as fraud_model:3")


model_version_argument = click.argument("model_version", metavar="MODEL:VERSION", callback=_model_version)


def app_session(url: str, key: str | None) -> CredentialSession:
    """Return a session for requests to the app; raises click.ClickException if the key would not be protected."""
    # A command may have two keys.
    keep_secret(f"key {key}", key or "")
    if key and is_exposed(url):
        raise click.ClickException(f"{url} would receive the key without encryption; write https://")
    return CredentialSession(url)


class AppClient:
    """The app; every method raises click.ClickException."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._session = app_session(url, key)
        self._session.headers.update({"Accept": "application/json"} | ({"x-functions-key": key} if key else {}))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_REPEAT))

    def history(self, **query: Any) -> dict[str, Any]:
        """Return one page of the history."""
        return self._request("GET", "/api/releases", query)

    def targets(self, **query: Any) -> dict[str, Any]:
        """Return one page of the targets."""
        return self._request("GET", "/api/targets", query)

    def rebuild_targets(self) -> int:
        """Build the targets again, and return how many there are."""
        return int(self._request("POST", "/api/targets", {}, json={"rebuild": "yes"})["lines"])

    def model_versions(
        self, model: str, version: str, workspace: str | None, *, outcome: bool = False
    ) -> list[dict[str, Any]]:
        """Return the details of a model version, from each workspace that has one; `outcome` reads Azure DevOps."""
        query = {"workspace": workspace, "outcome": "yes" if outcome else None}
        found = self._request("GET", _path(model, version), query)
        return list(found["model_versions"])

    def find(self, model: str, version: str, workspace: str | None) -> Json:
        """Return the details and the end of a pause; without records, the names by which the app asks Azure ML."""
        nothing: Json = {"model": model, "version": version, "workspace": workspace, "claims": []}
        missing = {"model_versions": [nothing], "throttled_until": None}
        return self._request("GET", _path(model, version), {"workspace": workspace}, missing=missing)

    def post(self, detail: Mapping[str, Any], **body: str) -> list[dict[str, Any]]:
        """Start a model version or set a high-water mark back; return the history entries."""
        path, workspace = _path(detail["model"], detail["version"]), detail["workspace"]
        return list(self._request("POST", path, {"workspace": workspace}, json=body)["entries"])

    def lines(self, model: str, **query: str | None) -> list[Json]:
        """Return what was started last of a model, its pin and what is pending, at each target."""
        return list(self._request("GET", f"/api/pins/{quote(model)}", query)["lines"])

    def steer(self, line: Json, **body: str) -> list[Json]:
        """Pin what is out, or remove the pin; return the history entries."""
        body |= {"workspace": line["workspace"], "target": line["target"]}
        return list(self._request("POST", f"/api/pins/{quote(line['model'])}", {}, json=body)["entries"])

    def _request(
        self, method: str, path: str, query: Mapping[str, Any], missing: dict[str, Any] | None = None, **body: Any
    ) -> dict[str, Any]:
        """Return the answer of the app, or `missing` if the app answers that it has no records."""
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
        if missing and response.status_code == requests.codes.not_found and isinstance(content, dict):
            return missing
        problem = _problem(response, content, self._url)
        # The app refuses a wrong filter or option so.
        is_wrong = response.status_code == requests.codes.bad_request
        raise click.UsageError(problem) if is_wrong else click.ClickException(problem)


def redirection(response: requests.Response) -> str:
    """Return where an answer redirects to, which is not followed, because the key would be sent there; or nothing."""
    location = response.headers.get("Location")
    return f" and redirects to {shorten(location)}; use that address" if location else ""


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


def the_one(details: list[Json]) -> Json:
    """Return the details of a model version, which only one workspace may have."""
    if len(details) > 1:
        ids = [detail["workspace"] for detail in details]
        names = {id_.rpartition("/")[2] for id_ in ids}
        choice = sorted(names) if len(names) == len(ids) else ids
        raise click.ClickException("\n  ".join(["Several workspaces have this version; choose --workspace:", *choice]))
    return details[0]


def claim_on(target: str | None, claims: list[Json]) -> Json | None:
    """Return the claim that is not final, or else the first one; without a target, only one may have claims."""
    targets = sorted({claim["target"] for claim in claims})
    if target and target.casefold() not in {one.casefold() for one in targets}:
        lines = [f"This version has no claim on {target}; it has claims on:", *(targets or ["no target"])]
        raise click.ClickException("\n  ".join(lines))
    if not target and len(targets) > 1:
        raise click.ClickException("\n  ".join(["This version has several targets; choose --target:", *targets]))
    ours = [claim for claim in claims if not target or claim["target"].casefold() == target.casefold()]
    return next((claim for claim in ours if not claim["final"]), ours[0] if ours else None)


def confirm(effect: str, *, yes: bool) -> None:
    """Show what a command is going to do, and ask unless the answer is given."""
    show_text(effect, on_stderr=True)
    if not yes:
        click.confirm("Continue?", abort=True, err=True)


def pinned(pin: Json) -> str:
    """Describe a pin."""
    verified = "" if pin["by_verified"] else " (stated)"
    return f"{pin['version']} is pinned since {utc(pin['since'])} UTC by {pin['by']}{verified}: {pin['comment']}"


def show_entries(entries: list[Json], *, as_json: bool) -> None:
    """Print history entries."""
    if as_json:
        show_json({"entries": entries})
    else:
        show_text("\n".join(_line(entry) for entry in entries))


def _line(entry: Json) -> str:
    release = entry["release"]
    link = f"\n{release['name']}  {release['url']}" if release else ""
    return f"{entry['state']}: {entry['reason']}{link}"


def _path(model: str, version: str) -> str:
    return f"/api/releases/{quote(model)}/{quote(version)}"


def _problem(response: requests.Response, content: Any, url: str) -> str:
    status, missing = response.status_code, requests.codes.not_found
    if isinstance(content, dict) and content.get("error"):
        error = str(content["error"])
        return f"{error}\nDid its event arrive? `history --ignored` lists every event." if status == missing else error
    if status == requests.codes.unauthorized:
        return f"{url} does not accept the key. {_GET_THE_KEY}"
    if status == missing:
        return f"{url} has no such function. {_NO_FUNCTION}"
    return f"{url} answered {status}{redirection(response)}"

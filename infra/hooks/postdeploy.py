"""The last step of `azd up`: wait for the functions, subscribe to the events, and ask the app for its health.

An event subscription needs an existing function, so the templates of `azd provision` cannot create it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FUNCTIONS = frozenset(
    {
        "health",
        "missed_models",
        "model_registered",
        "model_version",
        "pins",
        "releases",
        "targets",
        "unfinished_releases",
    }
)
INFRA = Path(__file__).parent.parent
# A new role or function takes minutes to be known everywhere.
_ATTEMPTS = 10
_HEALTH_ATTEMPTS = 3
# Errors of the event subscription that end by themselves.
_WAITING_HELPS = re.compile(r"endpoint validation|endpoint not found|managed identity|dead.?letter", re.IGNORECASE)


class StepError(Exception):
    """A step failed: the problem, and what to do."""


class Hook:
    """The steps, with the environment of azd, the Azure CLI and a pause between two attempts."""

    def __init__(self, environment: Mapping[str, str], az: str, pause: Callable[[], None]) -> None:
        self._environment = environment
        self._az = az
        self._pause = pause

    def wait_for_functions(self) -> None:
        """Return as soon as Azure lists every function; raises StepError."""
        print("Waiting until Azure lists the functions of the app.", flush=True)
        missing, problem = FUNCTIONS, ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause()
            done = self._call("functionapp", "function", "list", *self._app(), "--query", "[].name")
            if done.returncode == 0:
                listed = {name.rpartition("/")[2] for name in json.loads(done.stdout or "[]")}
                missing, problem = FUNCTIONS - listed, ""
            else:
                problem = f" Azure's last error: {error_of(done.stderr)}"
            if not missing:
                return
        raise StepError(
            f"Azure does not list {', '.join(sorted(missing))}: the code of the app cannot be loaded. Read the trace "
            f"'Worker failed to index functions' in Application Insights, then run `azd deploy` again.{problem}"
        )

    def subscribe(self) -> None:
        """Create or update the event subscriptions; raises StepError."""
        topics = json.loads(self._environment["SYSTEM_TOPIC_IDS"])
        print(f"Subscribing the function model_registered to {len(topics)} system topics.", flush=True)
        values = {
            "environmentName": self._environment["AZURE_ENV_NAME"],
            "systemTopicIds": topics,
            "functionAppId": self._environment["FUNCTION_APP_ID"],
            "storageId": self._environment["STORAGE_ID"],
            "deadLetterContainerName": self._environment["DEAD_LETTER_CONTAINER"],
        }
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "parameters.json"
            file.write_text(json.dumps({name: {"value": value} for name, value in values.items()}))
            self._deploy(file)

    def _deploy(self, parameters: Path) -> None:
        name = f"model-release-{self._environment['AZURE_ENV_NAME']}"
        template = str(INFRA / "event-subscriptions.json")
        group = self._environment["AZURE_RESOURCE_GROUP"]
        command = ["deployment", "group", "create", "--resource-group", group, "--name", name]
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause()
            done = self._call(*command, "--template-file", template, "--parameters", f"@{parameters}")
            if done.returncode == 0:
                return
            if not _WAITING_HELPS.search(done.stderr):
                break
        raise StepError(f"The event subscriptions were not created. Azure's last error: {error_of(done.stderr)}")

    def check_health(self) -> None:
        """Print what keeps the app from starting releases; raises StepError if a setting or the map is wrong."""
        keys = self._call("functionapp", "keys", "list", *self._app(), "--query", "functionKeys.default")
        health: dict[str, Any] = {}
        # The platform answers for an app that is still starting.
        for attempt in range(_HEALTH_ATTEMPTS):
            if attempt:
                self._pause()
            health = _health(self._environment["FUNCTION_APP_URL"], json.loads(keys.stdout or "null") or "")
            if "healthy" in health:
                break
        if faults := health.get("faults"):
            lines = [": ".join((one["where"], one["problem"])) + f"; {one['fix']}".rstrip("; ") for one in faults]
            raise StepError("\n  - ".join(["Model Release cannot start:", *lines]))
        for name, part in health.items():
            if isinstance(part, dict) and not part.get("ok"):
                print(printable(f"Not ready: {name}: {part.get('error')}"))
        print("The app can start releases." if health.get("healthy") else "See docs/deploy.md for the next step.")

    def _app(self) -> tuple[str, ...]:
        group, name = self._environment["AZURE_RESOURCE_GROUP"], self._environment["FUNCTION_APP_NAME"]
        return "--resource-group", group, "--name", name

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        subscription = ("--subscription", self._environment["AZURE_SUBSCRIPTION_ID"])
        command = [self._az, *arguments, *subscription, "--only-show-errors", "--output", "json"]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def error_of(text: str) -> str:
    """Return the innermost message of what az printed to stderr, in one line."""
    messages = re.findall(r'"message": ?"((?:[^"\\]|\\.)*)"', text)
    lines = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.strip()]
    message = json.loads(f'"{messages[-1]}"') if messages else (lines[-1] if lines else "az printed nothing")
    return " ".join(message.split())


def printable(text: str) -> str:
    """Replace the characters by which foreign text could control a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, because the key would be sent to the other address."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request, so that the redirect is an error."""


def _health(url: str, key: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/api/health", headers={"x-functions-key": key})
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=60) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        try:
            return dict(json.load(error))
        except ValueError:
            return {"app": {"ok": False, "error": f"{url}/api/health answers {error.code}"}}
    except OSError:
        return {"app": {"ok": False, "error": f"{url}/api/health does not answer"}}


def main() -> int:
    """Run the steps with the environment of azd; RETRY_SECONDS is the pause between two attempts."""
    az = shutil.which("az")
    if not az:
        print("The Azure CLI is not on PATH; install it: https://aka.ms/install-azure-cli", file=sys.stderr)
        return 1
    hook = Hook(os.environ, az, lambda: time.sleep(float(os.environ.get("RETRY_SECONDS", "30"))))
    try:
        hook.wait_for_functions()
        hook.subscribe()
        hook.check_health()
    except StepError as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

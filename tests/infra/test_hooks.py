"""The hook of `azd up`, with an `az` that records its calls and answers as Azure does."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from werkzeug.wrappers import Request, Response

from infra.hooks.postdeploy import FUNCTIONS, error_of
from local.functions_worker import index
from local.serving import Server
from model_release.app import HOME
from tests.environment import Environment
from tests.infra.templates import INFRA, compiled

TOPICS = ["/subscriptions/a/resourceGroups/b/providers/Microsoft.EventGrid/systemTopics/c d"]
NOT_FOUND = (
    'ERROR: {"error": {"code": "Failed", "message": "x", "details": [{"message": "Endpoint validation: not found"}]}}'
)
REGION = "ERROR: InvalidDeploymentLocation - Invalid deployment location 'westeurope'."
AZ = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
words = sys.argv[1:]
parameters = [json.loads(pathlib.Path(word[1:]).read_text()) for word in words if word.startswith("@")]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps({{"words": words, "parameters": parameters}}) + "\\n")
command = next(name for name in ("function list", "keys list", "group create") if name in " ".join(words))
answers = folder / command.replace(" ", "-")
left = json.loads(answers.read_text())
answers.write_text(json.dumps(left[1:] or left))
sys.stdout.write(left[0].get("out", ""))
sys.stderr.write(left[0].get("error", ""))
sys.exit(bool(left[0].get("error")))
"""


@dataclass
class Azure:
    """A fake `az` in a folder, and a fake app."""

    folder: Path
    url: str = ""
    health: list[Any] = field(default_factory=lambda: [{"healthy": True, "storage": {"ok": True}}, 200])

    def __call__(self, request: Request) -> Response:
        assert request.headers["x-functions-key"] == "the key"
        return Response(json.dumps(self.health[0]), self.health[1])

    def answers(self, command: str, *answers: dict[str, str]) -> None:
        """Set the answers of a command; the last one is repeated."""
        (self.folder / command.replace(" ", "-")).write_text(json.dumps(answers))

    def calls(self, command: str) -> list[dict[str, Any]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [one for one in map(json.loads, lines) if command in " ".join(one["words"])]

    def run(self, **changes: str) -> subprocess.CompletedProcess[str]:
        outputs = {name: f"<{name}>" for name in compiled("main")["outputs"]}
        azd = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": "<subscription>"}
        ours = {"SYSTEM_TOPIC_IDS": json.dumps(TOPICS), "FUNCTION_APP_URL": self.url, "RETRY_SECONDS": "0"}
        path = {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}
        hook = yaml.safe_load((HOME / "azure.yaml").read_text())["hooks"]["postdeploy"]["posix"]["run"]
        command = [sys.executable, *shlex.split(hook)[1:]]
        environment = azd | outputs | ours | path | changes
        return subprocess.run(
            command, cwd=HOME, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    azure = Azure(tmp_path)
    script = tmp_path / "az"
    script.write_text(AZ.format(python=sys.executable))
    script.chmod(0o755)
    azure.answers("function list", {"out": json.dumps([f"app/{name}" for name in FUNCTIONS])})
    azure.answers("keys list", {"out": '"the key"'})
    azure.answers("group create", {})
    with Server(azure) as server:
        azure.url = server.url
        yield azure


def test_the_hook_waits_for_every_function_of_the_app(env: Environment) -> None:
    assert {function.name for function in index(env.function_app())} == FUNCTIONS


def test_the_hook_passes_exactly_the_parameters_of_the_compiled_template(azure: Azure) -> None:
    done = azure.run()

    (call,) = azure.calls("group create")
    (parameters,) = call["parameters"]
    words = call["words"]
    assert (done.returncode, done.stderr) == (0, "")
    assert words[words.index("--template-file") + 1] == str(INFRA / "event-subscriptions.json")
    assert words[words.index("--subscription") + 1] == "<subscription>"
    assert parameters.keys() == compiled("event-subscriptions")["parameters"].keys()
    assert parameters["systemTopicIds"] == {"value": TOPICS}
    assert "The app can start releases." in done.stdout


def test_a_deployment_belongs_to_the_group_of_the_app_and_so_to_no_region(azure: Azure) -> None:
    azure.run()
    azure.run(AZURE_LOCATION="northeurope")

    for call in azure.calls("group create"):
        words = call["words"]
        assert words[words.index("--resource-group") + 1] == "<AZURE_RESOURCE_GROUP>"
        assert "--location" not in words


def test_a_second_deployment_makes_the_same_calls(azure: Azure) -> None:
    azure.run()
    first = [one["parameters"] for one in azure.calls("")]
    azure.run()

    assert [one["parameters"] for one in azure.calls("")] == first * 2


def test_the_hook_waits_until_the_functions_are_listed(azure: Azure) -> None:
    azure.answers(
        "function list",
        {"error": "ERROR: the app is starting"},
        {"out": '["app/health"]'},
        {"out": json.dumps([f"app/{name}" for name in FUNCTIONS])},
    )

    assert azure.run().returncode == 0
    assert (len(azure.calls("function list")), len(azure.calls("group create"))) == (3, 1)


def test_an_app_without_functions_gets_no_event_subscription_and_the_hook_shows_what_to_do(azure: Azure) -> None:
    azure.answers("function list", {"out": "[]"})

    done = azure.run()

    assert done.returncode == 1
    assert azure.calls("group create") == []
    assert "model_registered" in done.stderr
    assert "Worker failed to index functions" in done.stderr


@pytest.mark.parametrize(
    ("errors", "code", "attempts", "shown"),
    [
        ([NOT_FOUND, NOT_FOUND, ""], 0, 3, ""),
        ([NOT_FOUND], 1, 10, "Azure's last error: Endpoint validation: not found"),
        ([REGION], 1, 1, "Azure's last error: InvalidDeploymentLocation - Invalid deployment location 'westeurope'."),
    ],
)
def test_the_event_subscription_is_tried_again_only_if_waiting_helps(
    azure: Azure, errors: list[str], code: int, attempts: int, shown: str
) -> None:
    azure.answers("group create", *({"error": error} for error in errors))

    done = azure.run()

    assert (done.returncode, len(azure.calls("group create"))) == (code, attempts)
    assert shown in done.stderr
    assert "Traceback" not in done.stderr


def test_the_hook_fails_and_prints_every_fault_of_the_settings_and_the_map(azure: Azure) -> None:
    faults = [
        {"where": "AML_WORKSPACES", "problem": "missing", "fix": "set it"},
        {"where": "release_map.yaml", "problem": "version: found '2\x1b[2J', expected 1", "fix": ""},
    ]
    azure.health = [{"healthy": False, "faults": faults}, 503]

    done = azure.run()

    assert done.returncode == 1
    assert "  - AML_WORKSPACES: missing; set it\n" in done.stderr
    assert "  - release_map.yaml: version: found '2\ufffd[2J', expected 1\n" in done.stderr


@pytest.mark.parametrize(
    ("health", "shown"),
    [
        ([{"healthy": False, "azure_devops": {"ok": False, "error": "no sign-in"}}, 503], "azure_devops: no sign-in"),
        (["not an object", 403], "/api/health answers 403"),
        ([{"healthy": False, "storage": {"ok": False, "error": "\x1b[2J\u202e"}}, 503], "storage: \ufffd[2J\ufffd\n"),
    ],
)
def test_a_first_deployment_succeeds_before_azure_devops_accepts_the_identity(
    azure: Azure, health: list[Any], shown: str
) -> None:
    azure.health = health

    done = azure.run()

    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "az printed nothing"),
        ("WARNING: a\nERROR: b", "b"),
        (r'{"message": "a \"quoted\"\nline"}', 'a "quoted" line'),
    ],
)
def test_the_error_of_az_is_one_line(text: str, error: str) -> None:
    assert error_of(text) == error


def test_azd_runs_one_python_file_without_a_shell_script() -> None:
    azure = yaml.safe_load((HOME / "azure.yaml").read_text())
    owners = [azure, *azure["services"].values()]
    commands = {shell["run"] for owner in owners for hook in owner["hooks"].values() for shell in hook.values()}

    files = "infra/hooks/postdeploy.py", "-m infra.hooks.prepackage"
    assert commands == {f"{python} {file}" for file in files for python in ("python3", "python")}
    assert [*INFRA.rglob("*.sh"), *INFRA.rglob("*.ps1")] == []
    assert azure["requiredVersions"]["azd"] == ">= 1.25.3"
    assert "azd-service-name" in json.dumps(compiled("main"))

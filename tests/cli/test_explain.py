"""`explain` shows what a model version would start, exactly as it is sent later."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from local import azure_ml
from local.azure_ml import WORKSPACE
from local.serving import Server
from model_release.__main__ import main
from tests.environment import BOTH, EVENTS, IN_MEMORY, Environment, event

pytestmark = IN_MEMORY

OTHER = WORKSPACE.replace("/prod", "/test")


class Explainer:
    """The command with the settings of the app."""

    def __init__(self, env: Environment, folder: Path) -> None:
        self.env = env
        self.folder = folder
        self.settings: dict[str, str | None] = {}

    def run(self, *arguments: str) -> Result:
        env = {"RELEASE_MAP": "", **self.env.settings(), "COLUMNS": "200", **self.settings}
        return CliRunner(env=env).invoke(main, ["explain", *arguments])

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        (explanation,) = json.loads(done.stdout)
        return explanation

    def file(self, text: str) -> str:
        path = self.folder / "event.json"
        path.write_text(text)
        return str(path)

    def posts(self) -> list[tuple[str, str]]:
        """Return address and body of each POST, without the random number of the marker."""
        url = self.env.azure_devops_url
        posts = [one for one in self.env.azure_devops.requests if one.method == "POST"]
        return [(f"{url}{one.path}", re.sub("-[0-9a-f]{16}]", f"-{'0' * 16}]", one.body)) for one in posts]


@pytest.fixture
def explainer(env: Environment, tmp_path: Path) -> Explainer:
    return Explainer(env, tmp_path)


def requests_of(explanation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(plan["request"]["url"], plan["request"]["body"]) for plan in explanation["plans"]]


FRAUD = event("fraud_model", 3, ModelTags={"stage": "production", "name": "Grüße, \N{GREEK SMALL LETTER PI}"})


@BOTH
@pytest.mark.parametrize("registered", [event(), FRAUD], ids=["with an artifact", "with variables"])
def test_the_explained_request_is_sent_byte_for_byte(explainer: Explainer, registered: str) -> None:
    explanation = explainer.json(explainer.file(registered))
    assert explainer.posts() == []

    explainer.env.registered(registered)

    assert explainer.posts() == requests_of(explanation)


def test_a_value_that_is_not_harmless_is_explained_without_the_value(explainer: Explainer) -> None:
    explanation = explainer.json(
        "fraud_model:3",
        "--tag",
        "stage=production",
        "--map",
        explainer.file("""
version: 1
routes:
  - {model: fraud_model, release: {project: risk, definition: 42, description: "{tags.STAGE} {model}"}}
"""),
        "--tag",
        "Stage=$(password)",
    )

    reason = "route fraud_model uses {tags.STAGE}, whose value does not match [A-Za-z0-9 ._:/@+,=-]{0,256}"
    assert explanation["routes"][0]["reason"].startswith(reason)
    assert "password" not in explanation["ignored"]["reason"]


@BOTH
def test_a_model_version_on_the_command_line_is_explained_like_its_event(explainer: Explainer) -> None:
    explanation = explainer.json("fraud_model:3", "--tag", "stage=production")

    explainer.env.registered(event("fraud_model", 3, ModelTags={"stage": "production"}))

    assert explainer.posts() == requests_of(explanation)
    assert explanation["plans"][0]["marker"] in explainer.posts()[0][1]


@BOTH
def test_each_route_has_a_reason_not_to_match(explainer: Explainer) -> None:
    explanation = explainer.json("fraud_model:2", "--tag", "stage=production")

    assert [(route["matches"], route["reason"]) for route in explanation["routes"]] == [
        (False, "model 'fraud_model' does not match 'sklearn_regression_model'"),
        (False, "version '2' does not match '>=3'"),
    ]
    assert explanation["plans"] == []
    assert explanation["ignored"] == {"state": "ignored", "reason": "version '2' does not match '>=3'"}


@BOTH
def test_people_read_the_routes_the_reasons_and_the_request(explainer: Explainer) -> None:
    done = explainer.run("sklearn_regression_model:20")

    assert done.exit_code == 0
    assert "route sklearn_regression_model matches sklearn_regression_model:20" in done.stdout
    assert "model 'sklearn_regression_model' does not match 'fraud_*'" in done.stdout
    assert "POST http" in done.stdout
    explainer.env.registered(event())
    assert f"\n{explainer.posts()[0][1]}\n" in done.stdout


def test_a_refusal_by_the_definition_is_explained(explainer: Explainer) -> None:
    explainer.env.azure_devops._definitions[1].update(artifacts=[], variables={})

    (plan,) = explainer.json("sklearn_regression_model:20")["plans"]

    assert plan["request"] is None
    assert "definition Deploy sklearn model does not accept a model version; add an AzureML" in plan["reason"]


@BOTH
def test_without_azure_devops_the_command_fails(explainer: Explainer) -> None:
    explainer.env.azure_devops_server.stop()

    done = explainer.run("sklearn_regression_model:20")

    assert done.exit_code == 1
    assert "not determined: Azure DevOps cannot be reached: connection refused" in done.output


def test_an_event_of_another_workspace_is_ignored(explainer: Explainer) -> None:
    explanation = explainer.json(explainer.file(event().replace("/workspaces/prod", "/workspaces/other")))

    assert explanation["plans"] == []
    assert "/workspaces/other is not in AML_WORKSPACES" in explanation["ignored"]["reason"]


def test_another_map_is_explained_without_storage(explainer: Explainer) -> None:
    path = explainer.folder / "other.yaml"
    path.write_text("version: 1\nroutes:\n- {model: churn, release: {project: risk, definition: 42}}\n")
    explainer.settings = {"AzureWebJobsStorage": None}

    assert explainer.json("churn:1", "--map", str(path))["plans"][0]["target"] == "risk/42"


def test_one_of_several_workspaces_must_be_chosen(explainer: Explainer) -> None:
    explainer.settings = {"AML_WORKSPACES": f"{WORKSPACE},{OTHER}"}

    without, unknown = explainer.run("m:1"), explainer.run("m:1", "--workspace", "dev")

    assert (without.exit_code, unknown.exit_code) == (2, 2)
    assert "--workspace: choose one of: prod, test" in without.output
    assert "AML_WORKSPACES does not contain 'dev'; choose one of: prod, test" in unknown.output
    assert explainer.json("m:1", "--workspace", "TEST")["workspace"] == OTHER.lower()


def test_a_version_of_a_registry_is_explained_with_its_asset_id(explainer: Explainer) -> None:
    registry = WORKSPACE.replace("workspaces/prod", "registries/Shared")
    explainer.settings = {"AML_REGISTRIES": registry}
    path = explainer.folder / "other.yaml"
    variables = {"Stage": "{asset_id}"}
    release = {"project": "risk", "definition": 42, "variables": variables}
    path.write_text(
        json.dumps({"version": 1, "routes": [{"model": "churn", "registry": "shared", "release": release}]})
    )

    explained = explainer.json("churn:3", "--registry", "SHARED", "--map", str(path))
    wrong = [
        explainer.run("m:1", *options) for options in (["--registry", "x"], ["--registry", "x", "--workspace", "y"])
    ]

    assert explained["workspace"] == registry.lower()
    (plan,) = explained["plans"]
    sent = {name: one["value"] for name, one in json.loads(plan["request"]["body"])["variables"].items()}
    assert sent == {
        "ModelName": "churn",
        "ModelVersion": "3",
        "Stage": "azureml://registries/Shared/models/churn/versions/3",
    }
    assert [one.exit_code for one in wrong] == [2, 2]
    assert "AML_REGISTRIES does not contain 'x'; choose one of: Shared" in wrong[0].output


@pytest.fixture
def registered(explainer: Explainer) -> Iterator[azure_ml.AzureMl]:
    stand_in = azure_ml.AzureMl([WORKSPACE])
    with Server(stand_in) as server:
        explainer.settings = {
            "AZURE_RESOURCE_MANAGER_URL": server.url,
            "IDENTITY_ENDPOINT": f"{server.url}/msi/token",
            "IDENTITY_HEADER": "local",
        }
        yield stand_in


def test_current_tags_are_read_from_azure_ml(explainer: Explainer, registered: azure_ml.AzureMl) -> None:
    registered.add_version(
        WORKSPACE, "fraud_model", "3", created=datetime.now(UTC), tags={"stage": "production"}, archived=True
    )

    explanation = explainer.json("fraud_model:3", "--registered")

    assert explanation["tags"] == {"stage": "production"}
    assert explanation["plans"][0]["target"] == "risk/42"
    assert [r.path.rsplit("/models/")[1] for r in registered.requests] == ["fraud_model/versions/3"]


def test_a_version_that_is_not_registered_is_an_error(explainer: Explainer, registered: azure_ml.AzureMl) -> None:
    done = explainer.run("fraud_model:3", "--registered")

    assert done.exit_code == 1
    assert "fraud_model:3 is not registered" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.json",), "'nothing.json' is neither a file nor MODEL:VERSION"),
        (("m:1", "--tag", "stage"), "stage is not KEY=VALUE"),
        (("m:1", "--registered", "--tag", "a=b"), "Remove --tag and --property"),
        ((str(EVENTS / "cloud-event.json"), "--tag", "a=b"), "the file has all values"),
    ],
)
def test_wrong_arguments_are_usage_errors(explainer: Explainer, arguments: tuple[str, ...], message: str) -> None:
    done = explainer.run(*arguments)

    assert done.exit_code == 2
    assert message in done.output


def test_a_name_that_no_model_can_have_is_an_error(explainer: Explainer) -> None:
    done = explainer.run("fraud model:1")

    assert done.exit_code == 1
    assert "models/fraud model:1 would be ignored: the model name is 'fraud model'" in done.output


def test_all_faults_of_settings_and_map_are_reported(explainer: Explainer) -> None:
    explainer.settings = {"AML_WORKSPACES": "", "RELEASE_MAP": "/nowhere.yaml"}

    done = explainer.run("m:1")

    assert done.exit_code == 1
    assert "\n  AML_WORKSPACES: missing; " in done.output
    assert "\n  /nowhere.yaml: the file cannot be read" in done.output

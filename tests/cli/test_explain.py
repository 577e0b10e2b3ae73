"""What a model version would start: told before, and the same that is sent then."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from local import azure_ml
from local.demo import WORKSPACE
from local.serving import Server
from model_release.__main__ import main
from model_release.domain.release_map import load
from tests.environment import BOTH, EVENTS, World, event

OTHER = WORKSPACE.replace("/prod", "/test")


class Site:
    """The command in the settings of a world's app."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.settings: dict[str, str] = {}

    def explain(self, *arguments: str) -> Result:
        env = {"RELEASE_MAP": "", **self.world.environment(), "COLUMNS": "200", **self.settings}
        return CliRunner(env=env).invoke(main, ["explain", *arguments])

    def told(self, *arguments: str) -> dict[str, Any]:
        done = self.explain(*arguments, "--json")
        assert done.exit_code == 0, done.output
        (told,) = json.loads(done.stdout)
        return told

    def file(self, text: str) -> str:
        path = self.folder / "event.json"
        path.write_text(text)
        return str(path)

    def posts(self) -> list[tuple[str, str]]:
        url = self.world.azure_devops_url
        return [(f"{url}{r.path}", r.body) for r in self.world.azure_devops.requests if r.method == "POST"]


@pytest.fixture
def site(world: World, tmp_path: Path) -> Site:
    return Site(world, tmp_path)


def request_of(start: dict[str, Any]) -> tuple[str, str]:
    return start["request"]["url"], start["request"]["body"]


FRAUD = event("fraud_model", 3, ModelTags={"stage": "production", "name": "Grüße, \N{GREEK SMALL LETTER PI}"})


@BOTH
@pytest.mark.parametrize("registered", [event(), FRAUD], ids=["by artifact", "by variables"])
def test_what_is_explained_is_then_sent_byte_for_byte(site: Site, registered: str) -> None:
    told = site.told(site.file(registered))
    assert site.posts() == []

    site.world.app.registered(registered)

    assert site.posts() == [request_of(start) for start in told["starts"]]


@BOTH
def test_a_model_version_of_the_command_line_is_explained_as_its_event(site: Site) -> None:
    told = site.told("fraud_model:3", "--tag", "stage=production")

    site.world.app.registered(event("fraud_model", 3, ModelTags={"stage": "production"}))

    assert site.posts() == [request_of(start) for start in told["starts"]]
    assert told["starts"][0]["marker"] in site.posts()[0][1]


@BOTH
def test_each_route_says_why_it_does_not_match(site: Site) -> None:
    told = site.told("fraud_model:2", "--tag", "stage=production")

    assert [(route["takes"], route["reason"]) for route in told["routes"]] == [
        (False, "route sklearn_regression_model names sklearn_regression_model, not fraud_model"),
        (False, "version 2 is not >=3"),
    ]
    assert (told["starts"], told["ignored"]) == ([], "version 2 is not >=3")


@BOTH
def test_a_person_reads_routes_reasons_and_the_request(site: Site) -> None:
    done = site.explain("sklearn_regression_model:20")

    assert done.exit_code == 0
    assert "takes it" in done.stdout
    assert "names fraud_*, not sklearn_regression_model" in done.stdout
    assert "POST http" in done.stdout
    site.world.app.registered(event())
    assert f"\n{site.posts()[0][1]}\n" in done.stdout


def test_what_the_definition_refuses_is_an_explanation(site: Site) -> None:
    site.world.azure_devops._definitions[1].update(artifacts=[], variables={})

    told = site.told("sklearn_regression_model:20")

    assert told["starts"][0]["request"] is None
    assert "takes no model version: add an AzureML model artifact" in told["starts"][0]["reason"]


@BOTH
def test_an_azure_devops_that_is_away_is_no_explanation(site: Site) -> None:
    site.world.azure_devops_server.stop()

    done = site.explain("sklearn_regression_model:20")

    assert done.exit_code == 1
    assert "not known: Azure DevOps cannot be reached" in done.output


def test_an_event_of_another_workspace_is_ignored_as_the_app_does(site: Site) -> None:
    told = site.told(site.file(event().replace("/workspaces/prod", "/workspaces/other")))

    assert told["starts"] == []
    assert "/workspaces/other is not in AML_WORKSPACES" in told["ignored"]


def test_another_map_is_explained_without_being_deployed(site: Site) -> None:
    path = site.folder / "other.yaml"
    path.write_text("version: 1\nroutes:\n- {model: churn, release: {project: risk, definition: 42}}\n")
    assert load(path)

    assert site.told("churn:1", "--map", str(path))["starts"][0]["target"] == "risk/42"


def test_one_of_several_workspaces_must_be_named(site: Site) -> None:
    site.settings = {"AML_WORKSPACES": f"{WORKSPACE},{OTHER}"}

    unnamed, unknown = site.explain("m:1"), site.explain("m:1", "--workspace", "dev")

    assert (unnamed.exit_code, unknown.exit_code) == (2, 2)
    assert "choose one of prod, test" in unnamed.output
    assert "AML_WORKSPACES has no dev, but prod, test" in unknown.output
    assert site.told("m:1", "--workspace", "TEST")["workspace"] == OTHER.lower()


@pytest.fixture
def registered(site: Site) -> Iterator[azure_ml.AzureMl]:
    stand_in = azure_ml.AzureMl([WORKSPACE])
    with Server(stand_in) as server:
        site.settings = {
            "AZURE_RESOURCE_MANAGER_URL": server.url,
            "IDENTITY_ENDPOINT": f"{server.url}/msi/token",
            "IDENTITY_HEADER": "local",
        }
        yield stand_in


def test_tags_are_read_from_azure_ml_as_they_are_now(site: Site, registered: azure_ml.AzureMl) -> None:
    registered.add_version(
        WORKSPACE, "fraud_model", "3", created=datetime.now(UTC), tags={"stage": "production"}, archived=True
    )

    told = site.told("fraud_model:3", "--registered")

    assert told["tags"] == {"stage": "production"}
    assert told["starts"][0]["target"] == "risk/42"
    assert [r.path.rsplit("/models/")[1] for r in registered.requests] == ["fraud_model/versions/3"]


def test_a_version_that_is_not_registered_is_told(site: Site, registered: azure_ml.AzureMl) -> None:
    done = site.explain("fraud_model:3", "--registered")

    assert done.exit_code == 1
    assert "fraud_model 3 is not registered there" in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.json",), "neither a file nor MODEL:VERSION"),
        (("m:1", "--tag", "stage"), "write KEY=VALUE"),
        (("m:1", "--registered", "--tag", "a=b"), "--registered reads tags and properties"),
        ((str(EVENTS / "cloud-event.json"), "--tag", "a=b"), "a file says all of it"),
    ],
)
def test_what_cannot_be_meant_is_told(site: Site, arguments: tuple[str, ...], told: str) -> None:
    done = site.explain(*arguments)

    assert done.exit_code == 2
    assert told in done.output


def test_a_name_that_no_model_can_have_is_told(site: Site) -> None:
    done = site.explain("fraud model:1")

    assert done.exit_code == 1
    assert "the model name 'fraud model' is not letters" in done.output


def test_every_fault_of_settings_and_map_is_told(site: Site) -> None:
    site.settings = {"AML_WORKSPACES": "", "RELEASE_MAP": "/nowhere.yaml"}

    done = site.explain("m:1")

    assert done.exit_code == 1
    assert "AML_WORKSPACES is missing" in done.output
    assert "/nowhere.yaml cannot be read" in done.output

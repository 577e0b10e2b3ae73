"""The step that lets the identity of the app into Azure DevOps, against the local Azure DevOps."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from infra.azure_devops import main as let_in
from local.azure_devops import AzureDevOps, Fault, sample
from local.azure_devops_entitlements import identity_of
from local.serving import Server
from model_release.__main__ import main
from model_release.cli.check.organization import Addresses, OrganizationError

IDENTITY = "5f0e7a52-0000-4000-8000-9d1c4a3b2e10"
RELEASES, BUILD = "c788c23e-1b46-4162-8f5e-d7585343b5de", "33344d9c-fc72-4d6f-aba5-fa317101a7e9"
MAP = """
version: 1
routes:
  - {model: a, release: {project: fraud, definition: Deploy sklearn model}}
  - {model: b, release: {project: FRAUD, definition: Deploy sklearn model}}
  - {model: c, release: {project: risk, definition: 42}}
  - {model: d, pipeline: {project: growth, pipeline: Deploy churn}}
  - {model: e, enabled: false, release: {project: nowhere, definition: 1}}
"""


@dataclass
class Step:
    azure_devops: AzureDevOps
    url: str
    map: Path

    def run(self, *arguments: str, answer: str = "", **environment: str) -> Result:
        settings = {"AZURE_DEVOPS_PAT": "a token", "AZURE_DEVOPS_URL": self.url, "IDENTITY_PRINCIPAL_ID": IDENTITY}
        # It is a script of its own; click's runner only gives it an environment, and catches what it prints.
        command = click.command(lambda: sys.exit(let_in(["--map", str(self.map), *arguments])))
        return CliRunner().invoke(command, env=settings | environment, input=answer)

    def check(self) -> list[tuple[str, str]]:
        arguments = ("check", "--json", "--map", str(self.map), "--url", self.url, "--identity", IDENTITY)
        done = CliRunner(env={"AZURE_DEVOPS_PAT": "a token"}).invoke(main, arguments)
        findings = json.loads(done.stdout)["findings"]
        return [(one["severity"], one["message"]) for one in findings if one["where"] == "--identity"]

    @property
    def changes(self) -> list[str]:
        return [one.path for one in self.azure_devops.requests if one.method == "POST"]


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    azure_devops = sample()
    release_map = tmp_path / "map.yaml"
    release_map.write_text(MAP)
    with Server(azure_devops) as server:
        yield Step(azure_devops, f"{server.url}/contoso", release_map)


def test_the_identity_joins_each_project_and_gets_the_permissions_on_each_target(step: Step) -> None:
    done = step.run("--yes")

    entitlements = step.azure_devops.entitlements
    projects = {name: step.azure_devops.project(name)["id"] for name in ("fraud", "growth", "risk")}
    assert (done.exit_code, done.stderr) == (0, "")
    assert entitlements.principals == {
        IDENTITY: {"license": "express", "projects": dict.fromkeys(projects.values(), "projectReader")}
    }
    allowed = {(namespace, token): bits for (namespace, token, _), bits in entitlements.allowed.items()}
    assert allowed[RELEASES, f"{projects['risk']}/models/42"] == 97
    assert sorted(allowed.values()) == [97, 97, 1 + 128 + 1024]
    assert {namespace for namespace, _ in allowed} == {RELEASES, BUILD}
    assert {one for _, _, one in entitlements.allowed} == {identity_of(IDENTITY)}


def test_a_second_run_changes_nothing(step: Step) -> None:
    step.run("--yes")
    entitlements = step.azure_devops.entitlements
    before = dict(entitlements.principals), dict(entitlements.allowed)

    assert step.run("--yes").exit_code == 0
    assert (entitlements.principals, entitlements.allowed) == before


def test_the_step_shows_what_it_will_do_and_does_nothing_without_a_yes(step: Step) -> None:
    done = step.run(answer="n\n")

    assert done.exit_code == 1
    assert "Nothing was changed." in done.stderr
    assert step.changes == []
    for text in (
        f"add the identity {IDENTITY} to {step.url} with a Basic license",
        "add it to the readers of ",
        "allow View release pipeline, View releases, Create releases on definition Deploy fraud model of project risk",
        "allow View builds, Queue builds, View build pipeline on pipeline Deploy churn of project growth",
    ):
        assert text in done.stdout
    assert done.stdout.count("Deploy sklearn model") == 1

    assert step.run(answer="y\n").exit_code == 0
    assert len(step.changes) == 4


def test_a_refusal_with_status_200_is_shown(step: Step) -> None:
    step.azure_devops.entitlements.refusal = "VS403283: no Basic license is left"

    done = step.run("--yes")

    assert (done.exit_code, step.azure_devops.entitlements.allowed) == (1, {})
    assert "Azure DevOps refused to add the identity: VS403283: no Basic license is left\n" in done.stderr


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault(path="/serviceprincipalentitlements", status=403), "status 403; sign in as an administrator"),
        (Fault(path="/serviceprincipalentitlements", sign_in=True), "status 302; sign in as an administrator"),
        (
            Fault(path="/accesscontrolentries", status=403, body={"message": "TF50309: Edit permissions"}),
            "was refused: TF50309: Edit permissions",
        ),
        (Fault(path="/accesscontrollists", status=200, body={"value": []}), "is not effective"),
        (Fault(path="/identities", status=200, body={"value": [None]}), "run this again in a minute"),
        (Fault(path="/definitions", status=401), "does not accept the sign-in"),
        (Fault(path="/accesscontrolentries", close="before"), "does not answer; try again"),
    ],
)
def test_a_person_without_rights_is_shown_what_was_refused(step: Step, fault: Fault, shown: str) -> None:
    step.azure_devops.misbehave(fault)

    done = step.run("--yes")

    assert done.exit_code == 1
    assert shown in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_address_or_map_is_shown(step: Step) -> None:
    assert "AZURE_DEVOPS_URL: missing; set it to" in step.run("--yes", AZURE_DEVOPS_URL="").stderr
    step.map.write_text("version: 2")
    assert "map.yaml: version" in step.run("--yes").stderr


def test_the_services_of_an_organization_have_their_own_addresses() -> None:
    expected = ("https://vsaex.dev.azure.com/contoso", "https://vssps.dev.azure.com/contoso")
    for url in ("https://dev.azure.com/contoso", "https://contoso.visualstudio.com"):
        services = Addresses.of(url)
        assert (services.organization, services.entitlements, services.identities) == (url, *expected)

    with pytest.raises(OrganizationError, match="use a token"):
        Addresses.of("https://server.contoso.com/tfs/models")


def test_check_verifies_what_the_step_did(step: Step) -> None:
    for other in ("another", "one more"):
        step.azure_devops.entitlements.principals[other] = {"license": "express", "projects": {}}
    step.run("--yes")

    assert step.check() == [("ok", f"identity {IDENTITY} has its permissions on 3 targets")]


def test_check_names_all_that_the_identity_lacks(step: Step) -> None:
    assert step.check() == [("fault", f"identity {IDENTITY} is not a user of {step.url}")]

    step.run("--yes")
    entitlements = step.azure_devops.entitlements
    known = entitlements.principals[IDENTITY]
    known["license"] = "stakeholder"
    del known["projects"][step.azure_devops.project("risk")["id"]]
    for namespace, token, identity in entitlements.allowed:
        if namespace == BUILD:
            entitlements.allowed[namespace, token, identity] = 1

    assert step.check() == [
        ("fault", f"identity {IDENTITY} has the license stakeholder, not Basic"),
        ("fault", f"identity {IDENTITY} is not a member of project risk"),
        ("fault", f"identity {IDENTITY} does not have Queue builds, View build pipeline on pipeline Deploy churn"),
    ]


@pytest.mark.parametrize(
    "path", ["/graph/serviceprincipals", "/graph/storagekeys", "/serviceprincipalentitlements/", "/accesscontrollists"]
)
def test_check_warns_if_the_rights_cannot_be_read(step: Step, path: str) -> None:
    step.run("--yes")
    step.azure_devops.misbehave(Fault(path=path, status=403, body={"message": "TF50309: View identities"}))

    ((severity, message),) = step.check()
    assert severity == "warning"
    assert "TF50309: View identities" in message

"""`migrate` writes the map that replaces the classic extension's triggers, and switches them off."""

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.wrappers import Request, Response

from local.azure_devops import AzureDevOps
from local.azure_devops_faults import Fault
from local.serving import Server
from model_release.__main__ import main
from model_release.azure_devops.client import AzureDevOps as AzureDevOpsClient
from model_release.azure_devops.session import PatSignIn
from model_release.cli.migrate.triggers import OldDefinition
from model_release.domain import release_map
from model_release.domain.events import parse
from model_release.domain.release_map import ReleaseMap
from model_release.domain.routing import match, plan
from tests.environment import event

MODELS = ("alone", "first", "second", "third", "shared", "off", "filtered", "double", "123", "nobody")


class Organization:
    """A local Azure DevOps to migrate; `before_answer` receives each request first."""

    def __init__(self, folder: Path) -> None:
        self.azure_devops = AzureDevOps()
        self.folder = folder
        self.before_answer: Any = lambda _: None

    def __call__(self, request: Request) -> Response:
        self.before_answer(request)
        return self.azure_devops(request)

    def add(self, name: str, *models: str, project: str = "fraud", trigger: bool = True, **more: Any) -> dict[str, Any]:
        artifacts = {f"_{model}": model for model in models}
        return self.azure_devops.add_definition(project, name, model_artifacts=artifacts, trigger=trigger, **more)

    def migrate(self, *arguments: str, answer: str = "") -> Result:
        env = {"AZURE_DEVOPS_URL": self.url, "AZURE_DEVOPS_PAT": "a token", "COLUMNS": "200", "RELEASE_MAP": ""}
        return CliRunner(env=env).invoke(main, ["migrate", *arguments], answer)

    def map(self, *arguments: str, exit_code: int = 0) -> ReleaseMap:
        file = self.folder / "release_map.yaml"
        done = self.migrate(*(arguments or ("fraud",)), "--write", str(file), "--force")
        assert done.exit_code == exit_code, done.output
        return release_map.load(file)

    def switch(self, *arguments: str, answer: str = "") -> Result:
        return self.migrate(
            "fraud", "--switch", "--map", str(self.folder / "release_map.yaml"), *arguments, answer=answer
        )

    def started_by_map(self, routes: ReleaseMap, model: str) -> list[int]:
        """Return the IDs of the definitions that the app starts for a version of the model."""
        client = AzureDevOpsClient(self.url, PatSignIn("a token"), timeout=1)
        registered = parse(event(model, 7))
        before = len(self.azure_devops.releases)
        for planned in plan(match(routes, registered), registered):
            client.create(planned, registered, "marker", deadline=math.inf)
        return sorted(release["releaseDefinition"]["id"] for release in self.azure_devops.releases[before:])

    def puts(self) -> list[str]:
        return [received.body for received in self.azure_devops.requests if received.method == "PUT"]

    def definition(self, number: int) -> dict[str, Any]:
        return copy.deepcopy(self.azure_devops._definitions[number])


@pytest.fixture
def organization(tmp_path: Path) -> Iterator[Organization]:
    organization = Organization(tmp_path)
    for model in MODELS:
        organization.azure_devops.add_model_version(model, "6")
    with Server(organization) as server:
        organization.url = f"{server.url}/contoso"
        yield organization


def trigger_of(definition: dict[str, Any], alias: str) -> dict[str, Any]:
    return next(trigger for trigger in definition["triggers"] if trigger["artifactAlias"] == alias)


def add_all_kinds(organization: Organization) -> dict[str, list[int]]:
    """Add definitions of all kinds; return those that the old triggers started, by model."""
    organization.add("No model")
    organization.add("One", "alone")
    organization.add("Three", "first", "second", "third")
    some = organization.add("Two of three", "first", "second", "third", path="\\models\\late")
    some["triggers"].remove(trigger_of(some, "_second"))
    organization.add("Three", "shared", path="\\models")
    organization.add("THREE", "shared", path="\\other")
    organization.add("Off", "off", trigger=False)
    organization.add("42", "shared")
    organization.add("Größe: {a} #1 'x'", "123")
    organization.add("Disabled", "alone", disabled=True)
    filtered = organization.add("Filtered", "filtered", "alone")
    trigger_of(filtered, "_filtered")["triggerConditions"] = [{"sourceBranch": None, "tags": ["production"]}]
    trigger_of(filtered, "_alone")["triggerConditions"] = [{"sourceBranch": None, "tags": [], "tagFilter": None}]
    organization.add("Elsewhere", "alone", project="risk")
    return {
        "alone": [2, 11],
        "first": [3, 4],
        "second": [3],
        "third": [3, 4],
        "shared": [5, 6, 8],
        "123": [9],
        "off": [],
        "filtered": [],
        "nobody": [],
    }


def test_the_map_starts_for_each_model_what_its_triggers_started_and_nothing_else(organization: Organization) -> None:
    before = add_all_kinds(organization)

    routes = organization.map(exit_code=1)

    assert {model: organization.started_by_map(routes, model) for model in before} == before
    assert {route.order for route in routes.routes} == {"every"}


def test_the_registered_model_gets_its_version_and_other_artifacts_their_default_version(
    organization: Organization,
) -> None:
    organization.add("Three", "first", "second", "third")

    organization.started_by_map(organization.map(), "second")

    artifacts = organization.azure_devops.releases[0]["artifacts"]
    versions = {artifact["alias"]: artifact["definitionReference"]["version"]["name"] for artifact in artifacts}
    assert versions == {"_first": "6", "_second": "7", "_third": "6"}


def test_only_the_given_projects_are_read_and_each_of_them_once(organization: Organization) -> None:
    add_all_kinds(organization)

    routes = organization.map("risk", "RISK")

    assert [(route.model, route.release.definition) for route in routes.routes] == [("alone", "Elsewhere")]


def test_without_a_model_artifact_there_is_no_map(organization: Organization) -> None:
    organization.add("No model")
    file = organization.folder / "release_map.yaml"

    done = organization.migrate("fraud", "--write", str(file))

    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing to migrate" in done.stderr
    assert not file.exists()


def test_only_the_map_is_on_stdout_and_nothing_is_changed(organization: Organization) -> None:
    add_all_kinds(organization)

    done = organization.migrate("fraud")

    (organization.folder / "shown.yaml").write_text(done.stdout)
    assert release_map.load(organization.folder / "shown.yaml") == organization.map(exit_code=1)
    assert "--switch" in done.stderr
    assert {received.method for received in organization.azure_devops.requests} == {"GET"}


@pytest.mark.parametrize(
    ("name", "path", "namesakes", "in_map"),
    [
        ("Deploy", "\\", (), "Deploy"),
        ("Deploy", "\\", ("\\a\\Deploy",), "\\Deploy"),
        ("Deploy", "\\a\\b", (), "\\a\\b\\Deploy"),
        ("Deploy", "\\a", ("\\A\\DEPLOY",), 5),
        ("42", "\\", (), 5),
        ("1_000.5", "\\", (), 5),
        ("42", "\\a", (), "\\a\\42"),
        ("a\\b", "\\", (), 5),
    ],
)
def test_the_map_identifies_each_definition_unambiguously(
    name: str, path: str, namesakes: tuple[str, ...], in_map: int | str
) -> None:
    definition = OldDefinition("fraud", 5, name, path, 1, disabled=False, namesakes=namesakes)

    assert definition.in_map == in_map


def test_comments_name_the_origin_of_each_route_and_the_triggers_without_a_route(organization: Organization) -> None:
    add_all_kinds(organization)
    fixed = organization.add("Fixed", "first", "double")
    organization.add("Both", "shared")["artifacts"].append(
        {
            **organization.definition(2)["artifacts"][0],
            "alias": "_again",
            "definitionReference": {"definition": {"id": "shared"}},
        }
    )
    fixed["triggers"].remove(trigger_of(fixed, "_double"))
    fixed["artifacts"][1]["definitionReference"] |= {
        "defaultVersionType": {"id": "specificVersionType", "name": "Specific version"},
        "defaultVersionSpecific": {"id": "5", "name": "5"},
    }

    text = organization.migrate("fraud").stdout

    routes, _, left = text.partition("# Without a route:")
    for comment in (
        "# fraud, definition 4, \\models\\late\\Two of three, artifact _first, model first\n  - model: first",
        "so its trigger started nothing\n  - model: alone\n    order: every\n    enabled: false",
        '# the trigger has the filter [{"sourceBranch": null, "tags": ["production"]}]; add `version`',
        "# the default version of artifact _double is 5, not the latest",
    ):
        assert comment in routes
    for comment in (
        "\\models\\late\\Two of three, artifact _second, model second: the trigger is off.",
        "\\Off, artifact _off, model off: the trigger is off.",
        "\\Both, artifact _shared, model shared: several artifacts have this model: _shared, _again; keep one.",
    ):
        assert comment in left


@pytest.mark.parametrize("model", ["a,b", "", "*", "evil\n- model: '*'"])
def test_an_artifact_without_exactly_one_model_has_no_route(organization: Organization, model: str) -> None:
    organization.add("Good", "alone")
    organization.add("Odd", "alone")["artifacts"][0]["definitionReference"]["definition"] = {"id": model, "name": model}

    routes = organization.map(exit_code=1)

    assert [route.release.definition for route in routes.routes] == ["Good"]


@pytest.mark.parametrize("to", ["releases", "pipelines"])
def test_a_hostile_name_cannot_change_the_map_or_the_terminal(organization: Organization, to: str) -> None:
    name = "x\n  - model: '*' #\x1b[31m"
    organization.add(name, "alone", stages=(name,))

    routes = organization.map("fraud", "--to", to, exit_code=to == "pipelines")

    assert [(route.model, str(route.target.definition).strip("\\")) for route in routes.routes] == [("alone", name)]
    assert "\x1b" not in organization.migrate("fraud", "--to", to).output


def test_the_option_workspace_maps_a_service_connection_to_a_workspace(organization: Organization) -> None:
    organization.add("Dev", "alone")
    connection = organization.add("Prod", "alone")["artifacts"][0]["definitionReference"]["connection"]
    connection |= {"id": "another", "name": "Production"}

    routes = organization.map("fraud", "--workspace", "Production=ml-prod", "--workspace", "Azure ML workspace=ml-dev")

    assert "service connection Production: add `workspace: NAME`" in organization.migrate("fraud").stdout
    assert {route.release.definition: route.workspace for route in routes.routes} == {
        "Dev": "ml-dev",
        "Prod": "ml-prod",
    }


def test_an_existing_file_is_not_overwritten_without_force(organization: Organization) -> None:
    organization.add("One", "alone")
    file = organization.folder / "release_map.yaml"
    file.write_text("mine")

    done = organization.migrate("fraud", "--write", str(file))

    assert (done.exit_code, file.read_text()) == (1, "mine")
    assert "exists; overwrite it with --force" in done.output
    assert organization.azure_devops.requests == []


def test_json_has_the_map_and_the_triggers(organization: Organization) -> None:
    add_all_kinds(organization)

    report = json.loads(organization.migrate("fraud", "--json").stdout)

    assert report["map"] == organization.migrate("fraud").stdout
    (off,) = [trigger for trigger in report["triggers"] if trigger["model"] == "off"]
    assert (off["on"], off["becomes"], off["reason"]) == (False, "nothing", "the trigger is off")
    assert off["definition"]["id"] == 7


def test_many_definitions_are_read_page_by_page(organization: Organization) -> None:
    for number in range(205):
        organization.add(f"Plain {number}")
    organization.add("Last", "alone")

    assert organization.started_by_map(organization.map(), "alone") == [206]


# To pipelines

DECLARED = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}


def test_a_route_to_a_pipeline_is_enabled_only_if_the_pipeline_accepts_a_run(
    organization: Organization,
) -> None:
    add_pipeline = organization.azure_devops.add_pipeline
    organization.add("Ready", "alone", "first", path="\\models")
    add_pipeline("fraud", "ready", folder="\\models", parameters=DECLARED)
    organization.add("Elsewhere", "alone")
    add_pipeline("fraud", "Elsewhere", folder="\\builds", parameters=DECLARED)
    organization.add("42", "alone")
    add_pipeline("fraud", "42", parameters=DECLARED)
    organization.add("A build of that name", "alone")
    add_pipeline("fraud", "A build of that name")
    organization.add("Disabled", "alone", disabled=True)
    add_pipeline("fraud", "Disabled", parameters=DECLARED)
    trigger_of(organization.add("Filtered", "alone"), "_alone")["triggerConditions"] = [{"tags": ["production"]}]

    routes = organization.map("fraud", "--to", "pipelines", exit_code=1)

    assert [(route.pipeline.pipeline, route.model, route.enabled) for route in routes.routes] == [
        ("\\models\\Ready", "alone", True),
        ("\\models\\Ready", "first", True),
        ("\\Elsewhere", "alone", False),
        ("\\42", "alone", True),
        ("\\A build of that name", "alone", False),
        ("\\Disabled", "alone", False),
        ("\\Filtered", "alone", False),
    ]
    assert {route.order for route in routes.routes} == {"every"}
    assert organization.azure_devops.runs == []
    assert organization.started_by_map(routes, "alone") == []
    assert [(run["pipeline"]["name"], run["templateParameters"]) for run in organization.azure_devops.runs] == [
        (name, {"modelName": "alone", "modelVersion": "7", "modelReleaseMarker": "marker"}) for name in ("ready", "42")
    ]


def test_a_route_to_a_pipeline_lists_the_parts_of_the_definition(organization: Organization) -> None:
    definition = organization.add(
        "Rich",
        "alone",
        "first",
        path="\\models",
        stages=("Test", "Production"),
        variables={"Key": {"value": "hush", "isSecret": True}, "Zone": "EU"},
    )
    definition["variableGroups"] = [7]
    production = definition["environments"][1]
    production["variables"] = {"Replicas": {"value": "3"}}
    production["preDeployApprovals"] = {
        "approvals": [
            {"isAutomated": False, "approver": {"displayName": "[fraud]\\Owners"}},
            {"isAutomated": True, "approver": None},
        ]
    }
    production["postDeploymentGates"] = {
        "gatesOptions": {"isEnabled": True},
        "gates": [{"tasks": [{"name": "Query alerts"}]}],
    }
    production["preDeploymentGates"] = {"gatesOptions": None, "gates": []}

    done = organization.migrate("fraud", "--to", "pipelines")

    assert done.stdout.partition("routes:\n")[2].partition("\n\n")[0].splitlines()[:-1] == [
        "  # fraud, definition 1, \\models\\Rich, artifact _alone, model alone",
        (
            "  # project fraud has no pipeline \\models\\Rich, or this identity cannot view it; "
            "correct the route or the pipeline, or grant View build pipeline and Queue builds"
        ),
        "  # The YAML pipeline \\models\\Rich must declare the parameters modelName, modelVersion, modelReleaseMarker",
        "  # (example: docs/pipelines/deploy-model.yml), and replace these parts of the definition:",
        "  #   stages: Test, Production",
        "  #   approval before stage Production: [fraud]\\Owners",
        "  #   gates after stage Production: Query alerts",
        "  #   variables: Key (secret), Zone",
        "  #   variables of stage Production: Replicas",
        "  #   IDs of variable groups: 7",
        "  #   artifacts: _alone (AzureMLMMS), _first (AzureMLMMS)",
        "  - model: alone",
        "    order: every",
        "    enabled: false",
        "    pipeline:",
        "      project: fraud",
        "      pipeline: \\models\\Rich",
        "      parameters:",
        "        modelName: '{model}'",
    ]
    assert done.exit_code == 1
    assert "Create the pipelines that the map names, and enable their routes." in done.stderr


def test_a_route_to_a_pipeline_that_may_not_be_run_is_disabled(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.azure_devops.add_pipeline("fraud", "One", parameters=DECLARED)
    organization.azure_devops.permissions.discard("Queue builds")

    report = json.loads(organization.migrate("fraud", "--to", "pipelines", "--json").stdout)

    (trigger,) = report["triggers"]
    assert (trigger["becomes"], trigger["definition"]["in_map"]) == ("disabled route", "\\One")
    assert "needs Queue builds permissions" in trigger["reason"]


def test_a_pipeline_that_cannot_be_read_ends_the_command(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.azure_devops.misbehave(Fault("GET", "/pipelines", status=503))

    done = organization.migrate("fraud", "--to", "pipelines")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "Azure DevOps answered 503" in done.stderr


def test_an_enabled_route_to_the_pipeline_of_the_same_name_replaces_a_trigger(organization: Organization) -> None:
    organization.add("Ready", "alone", "first", path="\\models")
    organization.azure_devops.add_pipeline("fraud", "Ready", folder="\\models", parameters=DECLARED)
    organization.add("Missing", "alone")
    organization.map("fraud", "--to", "pipelines", exit_code=1)

    done = organization.switch("--yes")

    assert done.exit_code == 1
    assert [organization.definition(number)["triggers"] == [] for number in (1, 2)] == [True, False]
    assert re.search(r"fraud\\Missing +_alone +alone +leave on +no enabled route starts this definition", done.stdout)


@pytest.mark.parametrize(
    ("pipeline", "replaces"),
    [("One", True), ("\\ONE", True), ("Another", False), ("\\folder\\One", False), (1, False)],
)
def test_only_a_pipeline_of_the_same_name_replaces_a_definition(
    organization: Organization, pipeline: str | int, *, replaces: bool
) -> None:
    organization.add("One", "alone")
    content = {"version": 1, "routes": [{"model": "alone", "pipeline": {"project": "fraud", "pipeline": pipeline}}]}
    (organization.folder / "release_map.yaml").write_text(json.dumps(content))

    organization.switch("--yes")

    assert (organization.definition(1)["triggers"] == []) is replaces


# Switching


def rich_definition(organization: Organization) -> dict[str, Any]:
    """A definition with triggers of several kinds, and with fields that the SDK does not know."""
    definition = organization.add(
        "Rich", "alone", "first", disabled=False, variables={"Key": {"value": "", "isSecret": True}}
    )
    definition["triggers"] += [
        {"triggerType": "artifactSource", "artifactAlias": "_build", "triggerConditions": [{"tags": ["ok"]}]},
        {"triggerType": "schedule", "schedule": {"daysToRelease": 31, "timeZoneId": "UTC"}},
    ]
    definition["artifacts"].append({"alias": "_build", "type": "Build", "sourceId": "1:2", "isRetained": False})
    definition |= {"revision": 7, "isDisabled": False, "somethingNew": {"deep": [1, 2.50, None, "ü"]}}
    return definition


def test_switching_removes_the_model_triggers_and_changes_nothing_else(organization: Organization) -> None:
    rich_definition(organization)
    organization.map()
    before = organization.definition(1)

    done = organization.switch("--yes")

    after = organization.definition(1)
    assert done.exit_code == 0
    assert [trigger.get("artifactAlias") for trigger in after["triggers"]] == ["_build", None]
    assert after == {**before, "triggers": before["triggers"][2:], "revision": 8, "modifiedOn": after["modifiedOn"]}
    sent = json.loads(organization.puts()[0])
    assert {key: value for key, value in sent.items() if key not in ("_links", "url")} == {
        **before,
        "triggers": before["triggers"][2:],
        # Azure DevOps returns it empty and keeps its own.
        "projectReference": None,
    }


def test_the_plan_is_shown_first_and_without_confirmation_nothing_is_changed(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.map()

    no = organization.switch(answer="n\n")
    sent = organization.puts()
    yes = organization.switch(answer="y\n")

    assert (no.exit_code, sent) == (1, [])
    assert re.search(r"fraud\\One +_alone +alone +switch off +route alone", no.stdout)
    assert "Switch off 1 trigger?" in no.stderr
    assert (yes.exit_code, len(organization.puts())) == (0, 1)
    assert re.search(r"fraud\\One +_alone +alone +switched off", yes.stdout)


def test_without_an_answer_nothing_is_changed(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.map()

    assert organization.switch().exit_code == 1
    assert organization.puts() == []


def test_only_triggers_that_the_map_replaces_are_switched_off(organization: Organization) -> None:
    before = add_all_kinds(organization)
    organization.map(exit_code=1)
    organization.add("New", "alone")

    done = organization.switch("--yes", "--json")

    results = {(t["definition"]["name"], t["model"]): t["result"] for t in json.loads(done.stdout)["triggers"]}
    left = {names for names, result in results.items() if result != "switched off"}
    assert left == {("Filtered", "filtered"), ("Disabled", "alone"), ("New", "alone")}
    assert sorted(results.keys() - left) == sorted(
        (organization.definition(number)["name"], model) for model, numbers in before.items() for number in numbers
    )
    assert [trigger["artifactAlias"] for trigger in organization.definition(11)["triggers"]] == ["_filtered"]
    assert done.exit_code == 1
    assert re.search(r"fraud\\New +_alone +alone +leave on +no enabled route starts this", done.stderr)


def test_a_route_of_a_registry_replaces_no_trigger(organization: Organization) -> None:
    organization.add("Deploy", "churn")
    organization.map()
    written = organization.folder / "release_map.yaml"
    written.write_text(written.read_text().replace("- model: churn", "- model: churn\n    registry: shared"))

    assert "no enabled route starts this" in organization.switch("--yes").output


def test_check_finds_no_fault_after_the_switch(organization: Organization) -> None:
    add_all_kinds(organization)
    organization.map(exit_code=1)
    map_and_url = ["--map", str(organization.folder / "release_map.yaml"), "--url", organization.url, "--json"]
    runner = CliRunner(env={"AZURE_DEVOPS_PAT": "a token"})

    before = json.loads(runner.invoke(main, ["check", *map_and_url]).stdout)
    organization.switch("--yes")
    after = runner.invoke(main, ["check", *map_and_url])

    assert {fault["message"].partition(" on artifact ")[0].partition(" has ")[2] for fault in faults(before)} == {
        "its own trigger"
    }
    assert faults(json.loads(after.stdout)) == []
    assert after.exit_code == 0


def faults(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["severity"] == "fault"]


def test_a_second_switch_changes_nothing(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.map()
    organization.switch("--yes")

    done = organization.switch("--yes")

    assert (done.exit_code, len(organization.puts())) == (0, 1)
    assert "There is no trigger to switch off." in done.stderr


@pytest.mark.parametrize(
    ("moment", "result"),
    [("/definitions/1", "its revision is 2, not 1); run the command again"), ("PUT", "left on: You are using an old")],
)
def test_a_concurrent_change_is_not_overwritten(organization: Organization, moment: str, result: str) -> None:
    organization.add("One", "alone")
    organization.add("Two", "alone")
    organization.map()
    reads = []

    def change(request: Request) -> None:
        is_it = (
            f"{request.method} {request.path}".startswith("PUT") if moment == "PUT" else request.path.endswith(moment)
        )
        reads.append(is_it)
        # The command reads each definition to show it, and again to change it.
        if is_it and sum(reads) == (1 if moment == "PUT" else 2):
            organization.azure_devops._definitions[1] |= {"revision": 2, "description": "theirs"}

    organization.before_answer = change
    done = organization.switch("--yes")

    assert done.exit_code == 1
    assert result in done.stdout
    assert organization.definition(1)["description"] == "theirs"
    assert [len(organization.definition(number)["triggers"]) for number in (1, 2)] == [1, 0]


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (Fault("PUT", status=503, body={"message": "Unavailable."}), "not confirmed: Azure DevOps answered 503"),
        (Fault("PUT", close="after"), "not confirmed: the request to Azure DevOps failed"),
        (Fault("PUT", sign_in=True), "left on: Azure DevOps does not accept the sign-in"),
    ],
)
def test_a_failed_switch_is_reported(organization: Organization, fault: Fault, result: str) -> None:
    organization.add("One", "alone")
    organization.map()
    organization.azure_devops.misbehave(fault)

    done = organization.switch("--yes")

    assert done.exit_code == 1
    assert result in done.stdout
    assert len(organization.puts()) == 1


def test_a_trigger_that_azure_devops_keeps_is_reported(organization: Organization) -> None:
    definition = organization.add("One", "alone")
    organization.map()
    organization.azure_devops.misbehave(Fault("PUT", status=200, body=definition))

    done = organization.switch("--yes")

    assert done.exit_code == 1
    assert "kept the trigger" in done.stdout


def test_without_the_permission_nothing_is_switched(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.map()
    organization.azure_devops.permissions.discard("Edit release pipeline")

    done = organization.switch("--yes")

    assert done.exit_code == 1
    assert "does not have edit release pipeline permission" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fraud", "--yes"], "--map and --yes need --switch"),
        (["fraud", "--force"], "--force needs --write"),
        (["fraud", "--switch", "--write", "x.yaml"], "--switch writes no map"),
        (["fraud", "--switch", "--to", "pipelines"], "--switch writes no map"),
        (["fraud", "--workspace", "prod"], "prod is not CONNECTION=WORKSPACE"),
        (["fraud", "--workspace", "typo=prod"], "no model artifact uses the service connection typo"),
        (["nowhere"], "The following project does not exist: nowhere"),
        (["fraud", "--url", "ftp://x"], "--url: 'ftp://x' does not begin with https://"),
        (["fraud", "--switch", "--map", "nowhere.yaml"], "does not exist"),
    ],
)
def test_wrong_arguments_are_reported(organization: Organization, arguments: list[str], message: str) -> None:
    organization.add("One", "alone")

    done = organization.migrate(*arguments)

    assert done.exit_code in (1, 2)
    assert message in done.stderr


def test_a_project_without_visible_definitions_is_an_error(organization: Organization) -> None:
    organization.add("One", "alone")
    organization.azure_devops.permissions.clear()

    done = organization.migrate("fraud")

    assert done.exit_code == 1
    assert "no release definition in fraud, or you do not have View release pipeline there" in done.stderr

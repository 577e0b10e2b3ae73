"""Moving from the classic extension's triggers: the map that does the same, and the triggers off."""

import copy
import json
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
from model_release.azure_devops.client import client as azure_devops
from model_release.azure_devops.client import sdk as azure_devops_sdk
from model_release.cli.migrate.triggers import OldDefinition
from model_release.domain import release_map
from model_release.domain.events import parse
from model_release.domain.release_map import ReleaseMap, judge, starts
from tests.environment import event

MODELS = ("alone", "first", "second", "third", "shared", "off", "filtered", "double", "123", "nobody")


class Site:
    """A local Azure DevOps that can be asked through the command; `before_answer` sees each request first."""

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
        """The ids of the definitions that the app starts for a version of the model."""
        client = azure_devops.AzureDevOps(self.url, azure_devops_sdk.pat_sign_in("a token"), timeout=1)
        registered = parse(event(model, 7))
        before = len(self.azure_devops.releases)
        for start in starts(judge(routes, registered), registered):
            client.start(start, registered, "marker")
        return sorted(release["releaseDefinition"]["id"] for release in self.azure_devops.releases[before:])

    def puts(self) -> list[str]:
        return [received.body for received in self.azure_devops.requests if received.method == "PUT"]

    def definition(self, number: int) -> dict[str, Any]:
        return copy.deepcopy(self.azure_devops._definitions[number])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    for model in MODELS:
        site.azure_devops.add_model_version(model, "6")
    with Server(site) as server:
        site.url = f"{server.url}/contoso"
        yield site


def trigger_of(definition: dict[str, Any], alias: str) -> dict[str, Any]:
    return next(trigger for trigger in definition["triggers"] if trigger["artifactAlias"] == alias)


def a_busy_project(site: Site) -> dict[str, list[int]]:
    """Definitions of all kinds; those that the old triggers started, by model."""
    site.add("No model")
    site.add("One", "alone")
    site.add("Three", "first", "second", "third")
    some = site.add("Two of three", "first", "second", "third", path="\\models\\late")
    some["triggers"].remove(trigger_of(some, "_second"))
    site.add("Three", "shared", path="\\models")
    site.add("THREE", "shared", path="\\other")
    site.add("Off", "off", trigger=False)
    site.add("42", "shared")
    site.add("Größe: {a} #1 'x'", "123")
    site.add("Disabled", "alone", disabled=True)
    filtered = site.add("Filtered", "filtered", "alone")
    trigger_of(filtered, "_filtered")["triggerConditions"] = [{"sourceBranch": None, "tags": ["production"]}]
    trigger_of(filtered, "_alone")["triggerConditions"] = [{"sourceBranch": None, "tags": [], "tagFilter": None}]
    site.add("Elsewhere", "alone", project="risk")
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


def test_the_map_starts_for_each_model_what_its_triggers_started_and_nothing_else(site: Site) -> None:
    before = a_busy_project(site)

    routes = site.map(exit_code=1)

    assert {model: site.started_by_map(routes, model) for model in before} == before
    assert {route.order for route in routes.routes} == {"every"}


def test_the_registered_model_comes_in_its_version_and_the_other_artifacts_in_their_default_version(site: Site) -> None:
    site.add("Three", "first", "second", "third")

    site.started_by_map(site.map(), "second")

    artifacts = site.azure_devops.releases[0]["artifacts"]
    versions = {artifact["alias"]: artifact["definitionReference"]["version"]["name"] for artifact in artifacts}
    assert versions == {"_first": "6", "_second": "7", "_third": "6"}


def test_a_project_that_is_not_named_is_left_out_and_one_named_twice_is_read_once(site: Site) -> None:
    a_busy_project(site)

    routes = site.map("risk", "RISK")

    assert [(route.model, route.release.definition) for route in routes.routes] == [("alone", "Elsewhere")]


def test_without_a_model_artifact_there_is_no_map(site: Site) -> None:
    site.add("No model")
    file = site.folder / "release_map.yaml"

    done = site.migrate("fraud", "--write", str(file))

    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing to migrate" in done.stderr
    assert not file.exists()


def test_the_map_is_shown_alone_on_stdout_and_changes_nothing(site: Site) -> None:
    a_busy_project(site)

    done = site.migrate("fraud")

    (site.folder / "shown.yaml").write_text(done.stdout)
    assert release_map.load(site.folder / "shown.yaml") == site.map(exit_code=1)
    assert "--switch" in done.stderr
    assert {received.method for received in site.azure_devops.requests} == {"OPTIONS", "GET"}


@pytest.mark.parametrize(
    ("name", "path", "namesakes", "written"),
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
def test_a_definition_is_written_so_that_it_is_taken_for_no_other(
    name: str, path: str, namesakes: tuple[str, ...], written: int | str
) -> None:
    definition = OldDefinition("fraud", 5, name, path, 1, disabled=False, namesakes=namesakes)

    assert definition.written == written


def test_each_route_tells_where_it_comes_from_and_the_map_what_it_leaves_out(site: Site) -> None:
    a_busy_project(site)
    pinned = site.add("Pinned", "first", "double")
    site.add("Both", "shared")["artifacts"].append(
        {
            **site.definition(2)["artifacts"][0],
            "alias": "_again",
            "definitionReference": {"definition": {"id": "shared"}},
        }
    )
    pinned["triggers"].remove(trigger_of(pinned, "_double"))
    pinned["artifacts"][1]["definitionReference"] |= {
        "defaultVersionType": {"id": "specificVersionType", "name": "Specific version"},
        "defaultVersionSpecific": {"id": "5", "name": "5"},
    }

    text = site.migrate("fraud").stdout

    routes, _, left = text.partition("# Without a route:")
    for comment in (
        "# fraud, definition 4, \\models\\late\\Two of three, artifact _first, model first\n  - model: first",
        "its trigger started nothing\n  - model: alone\n    order: every\n    enabled: false",
        '# the trigger has the filter [{"sourceBranch": null, "tags": ["production"]}]: say it with `version`',
        "# the default version of artifact _double is not the latest: 5",
    ):
        assert comment in routes
    for comment in (
        "\\models\\late\\Two of three, artifact _second, model second: the trigger is off.",
        "\\Off, artifact _off, model off: the trigger is off.",
        "\\Both, artifact _shared, model shared: the model is in the artifacts _shared and _again",
    ):
        assert comment in left


@pytest.mark.parametrize("model", ["a,b", "", "*", "evil\n- model: '*'"])
def test_an_artifact_that_is_not_one_model_is_left_to_a_person(site: Site, model: str) -> None:
    site.add("Good", "alone")
    site.add("Odd", "alone")["artifacts"][0]["definitionReference"]["definition"] = {"id": model, "name": model}

    routes = site.map(exit_code=1)

    assert [route.release.definition for route in routes.routes] == ["Good"]


@pytest.mark.parametrize("to", ["releases", "pipelines"])
def test_a_hostile_name_stays_a_name(site: Site, to: str) -> None:
    name = "x\n  - model: '*' #\x1b[31m"
    site.add(name, "alone", stages=(name,))

    routes = site.map("fraud", "--to", to, exit_code=to == "pipelines")

    assert [(route.model, str(route.starts.target.definition).strip("\\")) for route in routes.routes] == [
        ("alone", name)
    ]
    assert "\x1b" not in site.migrate("fraud", "--to", to).output


def test_service_connections_become_workspaces_when_told(site: Site) -> None:
    site.add("Dev", "alone")
    connection = site.add("Prod", "alone")["artifacts"][0]["definitionReference"]["connection"]
    connection |= {"id": "another", "name": "Production"}

    told = site.map("fraud", "--workspace", "Production=ml-prod", "--workspace", "Azure ML workspace=ml-dev")

    assert "service connection Production: add `workspace: NAME`" in site.migrate("fraud").stdout
    assert {route.release.definition: route.workspace for route in told.routes} == {"Dev": "ml-dev", "Prod": "ml-prod"}


def test_a_file_that_exists_is_kept(site: Site) -> None:
    site.add("One", "alone")
    file = site.folder / "release_map.yaml"
    file.write_text("mine")

    done = site.migrate("fraud", "--write", str(file))

    assert (done.exit_code, file.read_text()) == (1, "mine")
    assert "exists; --force overwrites it" in done.output
    assert site.azure_devops.requests == []


def test_json_tells_the_same(site: Site) -> None:
    a_busy_project(site)

    told = json.loads(site.migrate("fraud", "--json").stdout)

    assert told["map"] == site.migrate("fraud").stdout
    (off,) = [trigger for trigger in told["triggers"] if trigger["model"] == "off"]
    assert (off["on"], off["becomes"], off["why"]) == (False, "nothing", "the trigger is off")
    assert off["definition"]["id"] == 7


def test_many_definitions_are_read_page_by_page(site: Site) -> None:
    for number in range(205):
        site.add(f"Plain {number}")
    site.add("Last", "alone")

    assert site.started_by_map(site.map(), "alone") == [206]


# To pipelines

DECLARED = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}


def test_a_route_to_a_pipeline_is_enabled_where_the_pipeline_takes_a_run_and_the_map_starts_nothing_else(
    site: Site,
) -> None:
    add_pipeline = site.azure_devops.add_pipeline
    site.add("Ready", "alone", "first", path="\\models")
    add_pipeline("fraud", "ready", folder="\\models", parameters=DECLARED)
    site.add("Elsewhere", "alone")
    add_pipeline("fraud", "Elsewhere", folder="\\builds", parameters=DECLARED)
    site.add("42", "alone")
    add_pipeline("fraud", "42", parameters=DECLARED)
    site.add("A build of that name", "alone")
    add_pipeline("fraud", "A build of that name")
    site.add("Disabled", "alone", disabled=True)
    add_pipeline("fraud", "Disabled", parameters=DECLARED)
    trigger_of(site.add("Filtered", "alone"), "_alone")["triggerConditions"] = [{"tags": ["production"]}]

    routes = site.map("fraud", "--to", "pipelines", exit_code=1)

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
    assert site.azure_devops.runs == []
    assert site.started_by_map(routes, "alone") == []
    assert [(run["pipeline"]["name"], run["templateParameters"]) for run in site.azure_devops.runs] == [
        (name, {"modelName": "alone", "modelVersion": "7", "modelReleaseMarker": "marker"}) for name in ("ready", "42")
    ]


def test_each_route_to_a_pipeline_tells_what_the_pipeline_must_be_and_do(site: Site) -> None:
    definition = site.add(
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

    told = site.migrate("fraud", "--to", "pipelines")

    assert told.stdout.partition("routes:\n")[2].partition("\n\n")[0].splitlines()[:-1] == [
        "  # fraud, definition 1, \\models\\Rich, artifact _alone, model alone",
        "  # project fraud has no pipeline \\models\\Rich, or this identity may not view it",
        "  # the YAML pipeline \\models\\Rich declares the parameters modelName, modelVersion, modelReleaseMarker",
        "  # (docs/pipelines/deploy-model.yml is a start), and does what the definition does:",
        "  #   stages: Test, Production",
        "  #   approval before stage Production: [fraud]\\Owners",
        "  #   gates after stage Production: Query alerts",
        "  #   variables: Key (secret), Zone",
        "  #   variables of stage Production: Replicas",
        "  #   variable groups, by id: 7",
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
    assert told.exit_code == 1
    assert "Create the pipelines that the map tells of, and enable their routes." in told.stderr


def test_without_the_permission_to_run_a_pipeline_its_route_is_disabled_and_says_so(site: Site) -> None:
    site.add("One", "alone")
    site.azure_devops.add_pipeline("fraud", "One", parameters=DECLARED)
    site.azure_devops.permissions.discard("Queue builds")

    told = json.loads(site.migrate("fraud", "--to", "pipelines", "--json").stdout)

    (trigger,) = told["triggers"]
    assert (trigger["becomes"], trigger["definition"]["in_map"]) == ("disabled route", "\\One")
    assert "needs Queue builds permissions" in trigger["why"]


def test_a_pipeline_that_cannot_be_asked_is_no_missing_one(site: Site) -> None:
    site.add("One", "alone")
    site.azure_devops.misbehave(Fault("GET", "/pipelines", status=503))

    done = site.migrate("fraud", "--to", "pipelines")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "Azure DevOps answered 503" in done.stderr


def test_triggers_are_switched_off_where_an_enabled_route_starts_the_pipeline_of_that_name(site: Site) -> None:
    site.add("Ready", "alone", "first", path="\\models")
    site.azure_devops.add_pipeline("fraud", "Ready", folder="\\models", parameters=DECLARED)
    site.add("Missing", "alone")
    site.map("fraud", "--to", "pipelines", exit_code=1)

    done = site.switch("--yes")

    assert done.exit_code == 1
    assert [site.definition(number)["triggers"] == [] for number in (1, 2)] == [True, False]
    assert re.search(
        r"fraud\\Missing +_alone +alone +leave on +no enabled route starts this definition, or", done.stdout
    )


@pytest.mark.parametrize(
    ("pipeline", "replaces"),
    [("One", True), ("\\ONE", True), ("Another", False), ("\\folder\\One", False), (1, False)],
)
def test_only_a_pipeline_of_the_same_name_takes_a_definitions_place(
    site: Site, pipeline: str | int, *, replaces: bool
) -> None:
    site.add("One", "alone")
    content = {"version": 1, "routes": [{"model": "alone", "pipeline": {"project": "fraud", "pipeline": pipeline}}]}
    (site.folder / "release_map.yaml").write_text(json.dumps(content))

    site.switch("--yes")

    assert (site.definition(1)["triggers"] == []) is replaces


# Switching


def rich_definition(site: Site) -> dict[str, Any]:
    """A definition with triggers of several kinds, and with fields that the SDK does not know."""
    definition = site.add("Rich", "alone", "first", disabled=False, variables={"Key": {"value": "", "isSecret": True}})
    definition["triggers"] += [
        {"triggerType": "artifactSource", "artifactAlias": "_build", "triggerConditions": [{"tags": ["ok"]}]},
        {"triggerType": "schedule", "schedule": {"daysToRelease": 31, "timeZoneId": "UTC"}},
    ]
    definition["artifacts"].append({"alias": "_build", "type": "Build", "sourceId": "1:2", "isRetained": False})
    definition |= {"revision": 7, "isDisabled": False, "somethingNew": {"deep": [1, 2.50, None, "ü"]}}
    return definition


def test_only_the_model_triggers_go_and_everything_else_is_as_it_was(site: Site) -> None:
    rich_definition(site)
    site.map()
    before = site.definition(1)

    done = site.switch("--yes")

    after = site.definition(1)
    assert done.exit_code == 0
    assert [trigger.get("artifactAlias") for trigger in after["triggers"]] == ["_build", None]
    assert after == {**before, "triggers": before["triggers"][2:], "revision": 8, "modifiedOn": after["modifiedOn"]}
    sent = json.loads(site.puts()[0])
    assert {key: value for key, value in sent.items() if key not in ("_links", "url")} == {
        **before,
        "triggers": before["triggers"][2:],
        # As Azure DevOps gives it out; it keeps its own.
        "projectReference": None,
    }


def test_what_is_switched_is_shown_first_and_a_no_changes_nothing(site: Site) -> None:
    site.add("One", "alone")
    site.map()

    no = site.switch(answer="n\n")
    sent = site.puts()
    yes = site.switch(answer="y\n")

    assert (no.exit_code, sent) == (1, [])
    assert re.search(r"fraud\\One +_alone +alone +switch off +route alone", no.stdout)
    assert "Switch off 1 trigger?" in no.stderr
    assert (yes.exit_code, len(site.puts())) == (0, 1)
    assert re.search(r"fraud\\One +_alone +alone +switched off", yes.stdout)


def test_nobody_to_answer_means_no(site: Site) -> None:
    site.add("One", "alone")
    site.map()

    assert site.switch().exit_code == 1
    assert site.puts() == []


def test_only_triggers_that_the_map_replaces_are_switched_off(site: Site) -> None:
    before = a_busy_project(site)
    site.map(exit_code=1)
    site.add("New", "alone")

    done = site.switch("--yes", "--json")

    results = {(t["definition"]["name"], t["model"]): t["result"] for t in json.loads(done.stdout)["triggers"]}
    left = {names for names, result in results.items() if result != "switched off"}
    assert left == {("Filtered", "filtered"), ("Disabled", "alone"), ("New", "alone")}
    assert sorted(results.keys() - left) == sorted(
        (site.definition(number)["name"], model) for model, numbers in before.items() for number in numbers
    )
    assert [trigger["artifactAlias"] for trigger in site.definition(11)["triggers"]] == ["_filtered"]
    assert done.exit_code == 1
    assert re.search(r"fraud\\New +_alone +alone +leave on +no enabled route starts this", done.stderr)


def test_check_accepts_the_map_when_the_old_triggers_are_off(site: Site) -> None:
    a_busy_project(site)
    site.map(exit_code=1)
    map_and_url = ["--map", str(site.folder / "release_map.yaml"), "--url", site.url, "--json"]
    runner = CliRunner(env={"AZURE_DEVOPS_PAT": "a token"})

    before = json.loads(runner.invoke(main, ["check", *map_and_url]).stdout)
    site.switch("--yes")
    after = runner.invoke(main, ["check", *map_and_url])

    assert {fault["what"].partition(" on artifact ")[0].partition(" has ")[2] for fault in faults(before)} == {
        "its own trigger"
    }
    assert faults(json.loads(after.stdout)) == []
    assert after.exit_code == 0


def faults(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in told["findings"] if finding["state"] == "fault"]


def test_a_second_switch_finds_nothing_to_do(site: Site) -> None:
    site.add("One", "alone")
    site.map()
    site.switch("--yes")

    done = site.switch("--yes")

    assert (done.exit_code, len(site.puts())) == (0, 1)
    assert "No trigger is switched off." in done.stderr


@pytest.mark.parametrize(
    ("moment", "told"),
    [("/definitions/1", "revision 2 is not 1; run this again"), ("PUT", "left on: You are using an old")],
)
def test_a_change_by_somebody_else_is_not_overwritten(site: Site, moment: str, told: str) -> None:
    site.add("One", "alone")
    site.add("Two", "alone")
    site.map()
    reads = []

    def change(request: Request) -> None:
        is_it = (
            f"{request.method} {request.path}".startswith("PUT") if moment == "PUT" else request.path.endswith(moment)
        )
        reads.append(is_it)
        # The command reads each definition once to show it, and once more to change it.
        if is_it and sum(reads) == (1 if moment == "PUT" else 2):
            site.azure_devops._definitions[1] |= {"revision": 2, "description": "theirs"}

    site.before_answer = change
    done = site.switch("--yes")

    assert done.exit_code == 1
    assert told in done.stdout
    assert site.definition(1)["description"] == "theirs"
    assert [len(site.definition(number)["triggers"]) for number in (1, 2)] == [1, 0]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("PUT", status=503, body={"message": "away"}), "not known to be off, run this again"),
        (Fault("PUT", close="after"), "not known to be off, run this again"),
        (Fault("PUT", sign_in=True), "left on: Azure DevOps does not accept the sign-in"),
    ],
)
def test_a_switch_that_fails_is_told(site: Site, fault: Fault, told: str) -> None:
    site.add("One", "alone")
    site.map()
    site.azure_devops.misbehave(fault)

    done = site.switch("--yes")

    assert done.exit_code == 1
    assert told in done.stdout
    assert len(site.puts()) == 1


def test_a_trigger_that_azure_devops_keeps_is_told(site: Site) -> None:
    definition = site.add("One", "alone")
    site.map()
    site.azure_devops.misbehave(Fault("PUT", status=200, body=definition))

    done = site.switch("--yes")

    assert done.exit_code == 1
    assert "kept the trigger" in done.stdout


def test_without_the_permission_nothing_is_switched(site: Site) -> None:
    site.add("One", "alone")
    site.map()
    site.azure_devops.permissions.discard("Edit release pipeline")

    done = site.switch("--yes")

    assert done.exit_code == 1
    assert "does not have edit release pipeline permission" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fraud", "--yes"], "--map and --yes go with --switch"),
        (["fraud", "--force"], "--force goes with --write"),
        (["fraud", "--switch", "--write", "x.yaml"], "--switch writes no map"),
        (["fraud", "--switch", "--to", "pipelines"], "--switch writes no map"),
        (["fraud", "--workspace", "prod"], "prod: write CONNECTION=WORKSPACE"),
        (["fraud", "--workspace", "typo=prod"], "no model artifact uses the service connection typo"),
        (["nowhere"], "The following project does not exist: nowhere"),
        (["fraud", "--url", "ftp://x"], "does not begin with https://"),
        (["fraud", "--switch", "--map", "nowhere.yaml"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_told(site: Site, arguments: list[str], told: str) -> None:
    site.add("One", "alone")

    done = site.migrate(*arguments)

    assert done.exit_code in (1, 2)
    assert told in done.stderr


def test_definitions_that_may_not_be_viewed_are_no_empty_map(site: Site) -> None:
    site.add("One", "alone")
    site.azure_devops.permissions.clear()

    done = site.migrate("fraud")

    assert done.exit_code == 1
    assert "no release definition in fraud, or you may not view release pipelines there" in done.stderr

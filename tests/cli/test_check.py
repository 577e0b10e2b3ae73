"""`check` finds each planted fault, and no other."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from werkzeug.wrappers import Request, Response

from local import azure_ml
from local.azure_devops import AzureDevOps, definition_token, sample
from local.azure_devops_faults import Fault
from local.azure_devops_pipelines import pipeline_token
from local.azure_devops_releases import SELECTED, build_artifact, model_artifact
from local.azure_ml import WORKSPACE
from local.event_subscriptions import as_az_shows, event_filter, event_subscription
from local.serving import Server
from model_release.__main__ import main
from model_release.app import HOME
from model_release.cli.check import permissions
from model_release.cli.check.definition import DefinitionCheck
from model_release.cli.check.findings import Severity
from model_release.cli.check.subscription import check_subscription
from model_release.domain.events import Workspace
from model_release.domain.map_file import MapFile
from model_release.domain.release_map import ReleaseMap, build_map, load

TOPIC = "/subscriptions/1/resourceGroups/ml-prod/providers/Microsoft.EventGrid/systemTopics/models"
OF_TOPIC = f"{TOPIC}/eventSubscriptions/model-release"
OF_WORKSPACE = f"{WORKSPACE}/providers/Microsoft.EventGrid/eventSubscriptions/model-release"
BARE_NAME = "others can give this name to another"
REGISTRY = WORKSPACE.replace("workspaces/prod", "registries/Shared")
TWO_WORKSPACES = f"{WORKSPACE},{WORKSPACE.replace('/prod', '/test')}"


@dataclass
class Checked:
    """A local Azure DevOps, a local Azure, a release map and settings, to be checked."""

    folder: Path
    azure_devops: AzureDevOps = field(default_factory=sample)
    azure: azure_ml.AzureMl = field(default_factory=lambda: azure_ml.AzureMl([*TWO_WORKSPACES.split(","), REGISTRY]))
    url: str = ""
    azure_url: str = ""
    routes: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def definition(self, number: int = 1) -> dict[str, Any]:
        return self.azure_devops._definitions[number]

    def check(self, *arguments: str, columns: int = 300) -> Result:
        (self.folder / "map.yaml").write_text(yaml.safe_dump({"version": 1, "routes": self.routes}))
        env = {
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "AZURE_DEVOPS_URL": f"{self.url}/contoso",
            "AZURE_DEVOPS_PAT": "a token",
            "AML_WORKSPACES": WORKSPACE,
            "AZURE_DEVOPS_TIMEOUT_SECONDS": "10",
            "AZURE_RESOURCE_MANAGER_URL": self.azure_url,
            "IDENTITY_ENDPOINT": f"{self.azure_url}/msi/token",
            "IDENTITY_HEADER": "local",
            "RELEASE_MAP": str(self.folder / "map.yaml"),
            "COLUMNS": str(columns),
        }
        return CliRunner(env=env | self.settings).invoke(main, ["check", *arguments])

    def findings(self, *arguments: str) -> list[dict[str, str]]:
        done = self.check("--json", *arguments)
        report = json.loads(done.stdout)
        faults = sum(finding["severity"] == "fault" for finding in report["findings"])
        assert (done.exit_code, report["faults"]) == (bool(faults), faults), done.output
        return list(report["findings"])

    def wrong(self, *arguments: str) -> list[dict[str, str]]:
        """Return the faults and warnings, without the warnings of names that have no folder."""
        return [
            finding
            for finding in self.findings(*arguments)
            if finding["severity"] != "ok" and BARE_NAME not in finding["message"]
        ]


@dataclass
class Organization:
    """Answers for the Azure DevOps of each test at one address, of which the SDK reads the locations once."""

    azure_devops: AzureDevOps = field(default_factory=AzureDevOps)
    url: str = ""

    def __call__(self, request: Request) -> Response:
        return self.azure_devops(request)


@pytest.fixture(scope="module")
def organization() -> Iterator[Organization]:
    organization = Organization()
    with Server(organization) as server:
        organization.url = server.url
        yield organization


@pytest.fixture
def checked(tmp_path: Path, organization: Organization) -> Iterator[Checked]:
    checked = Checked(tmp_path, routes=yaml.safe_load((HOME / "release_map.yaml").read_text())["routes"])
    release(0, definition="Deploy sklearn model")(checked)
    organization.azure_devops, checked.url = checked.azure_devops, organization.url
    checked.azure.event_subscriptions.append(event_subscription(OF_TOPIC))
    with Server(checked.azure) as server:
        checked.azure_url = server.url
        yield checked


def test_a_correct_configuration_has_no_faults_and_is_only_read(checked: Checked) -> None:
    release(0, definition=1)(checked)
    checked.azure.add_version(WORKSPACE, "churn", "3", created=datetime.now(UTC))

    findings = checked.findings("--subscription", OF_TOPIC)

    assert [(finding["severity"], finding["message"]) for finding in findings] == [
        (
            "ok",
            (
                "definition Deploy sklearn model receives the version in artifact _sklearn_regression_model "
                "and variables ModelName, ModelVersion, ModelWorkspace"
            ),
        ),
        (
            "ok",
            (
                "definition Deploy fraud model receives the version in variables "
                "ModelName, ModelVersion, ModelWorkspace, Stage"
            ),
        ),
        ("ok", "the models of workspace prod can be read, for example churn:3"),
        ("ok", "the subscription delivers the events of the map's models"),
    ]
    assert {received.method for received in checked.azure_devops.requests} <= {"GET", "OPTIONS"}


FIXED = {"value": "", "allowOverride": False}


def trigger(alias: str) -> dict[str, Any]:
    return {"artifactAlias": alias, "triggerType": "artifactSource", "triggerConditions": []}


def start_no_stage(checked: Checked) -> None:
    for stage in checked.definition()["environments"]:
        stage["conditions"] = []


def spell_differently(checked: Checked) -> None:
    checked.routes.append({"model": "sklearn_*", "release": {"project": "fraud", "definition": 1}})


def add_second_artifact(checked: Checked) -> None:
    first = checked.definition()["artifacts"][0]
    checked.definition()["artifacts"].append({**first, "alias": "_again"})


def match_a_glob(checked: Checked) -> None:
    checked.routes[0]["model"] = "sklearn_*"
    checked.definition()["variables"] = {}


def select_one_model(checked: Checked) -> None:
    checked.routes[0]["model"] = "ab_*"
    checked.definition()["artifacts"] = [model_artifact("_a", "ab_1", SELECTED)]
    checked.azure_devops.add_model_version("ab_1", "1")


def select_two_models(checked: Checked) -> None:
    select_one_model(checked)
    checked.definition()["artifacts"].append(model_artifact("_b", "ab_2", SELECTED))


def add_namesake(checked: Checked) -> None:
    checked.azure_devops.add_definition("fraud", "Deploy sklearn model", path="\\old")


def route(number: int, **changes: Any) -> Callable[[Checked], None]:
    return lambda checked: checked.routes[number].update(changes)


def release(number: int, **changes: Any) -> Callable[[Checked], None]:
    return lambda checked: checked.routes[number]["release"].update(changes)


def definition(**changes: Any) -> Callable[[Checked], None]:
    return lambda checked: checked.definition().update(changes)


def denied(*names: str, number: int = 42) -> Callable[[Checked], None]:
    return lambda checked: checked.azure_devops.denied.update(
        {definition_token(checked.definition(number)): set(names)}
    )


FIRST, SECOND = "routes[0] sklearn_regression_model", "routes[1] fraud models to production"
CORRECT_ROUTE = "correct the route's project or definition, or grant View release pipeline"

PLANTED: dict[str, tuple[Callable[[Checked], object], list[tuple[str, str, str, str]]]] = {
    "no such definition": (
        release(0, definition="Deploy"),
        [("fault", "project fraud has no release definition Deploy", FIRST, CORRECT_ROUTE)],
    ),
    "no such ID": (
        release(1, definition=43),
        [("fault", "Release pipeline with ID 43 does not exist", SECOND, CORRECT_ROUTE)],
    ),
    "no such project": (
        release(0, project="nowhere"),
        [("fault", "project does not exist: nowhere", FIRST, CORRECT_ROUTE)],
    ),
    "two definitions of that name": (
        add_namesake,
        [
            (
                "fault",
                "project fraud has 2 release definitions named Deploy sklearn model",
                FIRST,
                "write the folder too: \\Deploy sklearn model, \\old",
            )
        ],
    ),
    "disabled": (
        definition(isDisabled=True),
        [("fault", "definition Deploy sklearn model is disabled", FIRST, "enable it, or disable the route")],
    ),
    "deleted": (
        definition(isDeleted=True),
        [("fault", "has no release definition Deploy sklearn model", FIRST, CORRECT_ROUTE)],
    ),
    "one definition by ID and by name": (
        spell_differently,
        [
            (
                "fault",
                "fraud/Deploy sklearn model and fraud/1 are the same definition",
                f"{FIRST} and routes[2] sklearn_*",
                "write project and definition the same way in both routes",
            )
        ],
    ),
    "nothing receives the version": (
        definition(artifacts=[], variables={}),
        [
            (
                "fault",
                "definition Deploy sklearn model",
                FIRST,
                "add an AzureML model artifact of sklearn_regression_model, or a variable ModelVersion",
            )
        ],
    ),
    "the variable is not settable": (
        lambda checked: checked.definition(42)["variables"].update(ModelVersion=FIXED),
        [
            (
                "fault",
                "definition Deploy fraud model",
                SECOND,
                "add an AzureML model artifact of fraud_*, or a variable ModelVersion settable",
            )
        ],
    ),
    "a variable of the route is not settable": (
        lambda checked: checked.definition(42)["variables"].update(Stage=FIXED),
        [("fault", "variable Stage of definition Deploy fraud model is not settable", SECOND, "settable")],
    ),
    "a variable of the route does not exist": (
        lambda checked: checked.definition(42)["variables"].pop("Stage"),
        [("fault", "definition Deploy fraud model has no variable Stage", SECOND, "settable at release time")],
    ),
    "a variable of the route is one of a stage": (
        lambda checked: checked.definition(42)["environments"][0]["variables"].update(
            Stage=checked.definition(42)["variables"].pop("Stage")
        ),
        [("fault", "Deploy fraud model is a variable of stage Test", SECOND, "move it to the scope Release")],
    ),
    "a variable of the route is one of a group": (
        lambda checked: (
            checked.definition(42)["variables"].pop("Stage")
            and checked.definition(42)["variableGroups"].append(
                checked.azure_devops.add_variable_group("risk", "Common", {"stage": "x"})
            )
        ),
        [("fault", "Deploy fraud model is a variable of group Common", SECOND, "add it to the definition")],
    ),
    "a folder with slashes": (
        release(0, definition="/Deploy sklearn model"),
        [("fault", "has no release definition /Deploy", FIRST, "with backslashes: \\Deploy sklearn model")],
    ),
    "two artifacts of the model": (
        add_second_artifact,
        [("fault", "in 2 artifacts: _sklearn_regression_model, _again", FIRST, "keep one")],
    ),
    "the version ID format is not known": (
        lambda checked: checked.azure_devops._versions.clear(),
        [("fault", "version ID format of artifact _sklearn_regression_model", FIRST, "create one release")],
    ),
    "an artifact for some of a glob's models": (
        match_a_glob,
        [
            (
                "warning",
                "accepts versions of sklearn_regression_model and refuses others of sklearn_*",
                "routes[0] sklearn_*",
                "add a variable ModelVersion",
            )
        ],
    ),
    "the version of another artifact is selected for each release": (
        lambda checked: checked.definition()["artifacts"].append(build_artifact("_code", "7", SELECTED)),
        [
            (
                "fault",
                "expects that the version of artifact _code is selected for each release",
                FIRST,
                "set its default version, for example to Latest",
            )
        ],
    ),
    "the versions of two models of a glob are selected for each release": (
        select_two_models,
        [
            ("fault", f"the version of artifact {alias} is selected", "routes[0] ab_*", "set its default")
            for alias in ("_b", "_a")
        ],
    ),
    "the version of one model of a glob is selected for each release": (
        select_one_model,
        [
            (
                "warning",
                "accepts versions of ab_1 and refuses others of ab_*",
                "routes[0] ab_*",
                "set the default version of each artifact",
            )
        ],
    ),
    "everyone chooses the value of a variable": (
        route(1, tags={}),
        [
            (
                "warning",
                "everyone who may register models chooses the value of {tags.stage}",
                SECOND,
                "`tags: {stage: VALUE}`, or list those permitted with `allow: {tags.stage: REGEX}`",
            )
        ],
    ),
    "the values of a variable are listed": (route(1, tags={}, allow={"tags.Stage": "dev|prod"}), []),
    "no such manual stage": (
        release(1, manual_stages=["Prodution"]),
        [("fault", "definition Deploy fraud model has no stage Prodution", SECOND, "manual_stages")],
    ),
    "its own trigger is on": (
        definition(triggers=[trigger("_sklearn_regression_model")]),
        [("fault", "its own trigger on artifact _sklearn_regression_model", FIRST, "switch off that trigger")],
    ),
    "may not create releases": (
        denied("Create releases"),
        [
            (
                "fault",
                "does not have the permission Create releases on definition Deploy fraud model",
                SECOND,
                "grant Create releases in the definition's security",
            )
        ],
    ),
    "may not view releases": (
        denied("View releases"),
        [("fault", "permission View releases on definition Deploy fraud model", SECOND, "grant View releases")],
    ),
    "may neither view nor create releases": (
        denied("View releases", "Create releases", number=1),
        [
            ("fault", "permission View releases on definition Deploy sklearn", FIRST, "grant View releases"),
            ("fault", "permission Create releases on definition Deploy sklearn", FIRST, "grant Create releases"),
        ],
    ),
    "may not view the definition with this ID": (
        denied("View release pipeline"),
        [("fault", "does not have view release pipeline permission", SECOND, CORRECT_ROUTE)],
    ),
    "may not view the definition of this name": (
        denied("View release pipeline", number=1),
        [("fault", "or this identity cannot view it", FIRST, CORRECT_ROUTE)],
    ),
    "no stage starts automatically": (
        start_no_stage,
        [
            (
                "warning",
                "no stage of definition Deploy sklearn model starts automatically",
                FIRST,
                "let the first stage start",
            )
        ],
    ),
    "the first stage is a manual one": (
        release(1, manual_stages=["test", "Production"]),
        [("warning", "manual_stages names every stage", SECOND, "remove the first stage from manual_stages")],
    ),
    "versions without order": (
        route(0, version="2024-*"),
        [("warning", "versions such as 2024-* are not whole numbers", FIRST, "write `order: every`")],
    ),
    "an artifact of one workspace for the versions of two": (
        lambda checked: checked.settings.update(AML_WORKSPACES=TWO_WORKSPACES),
        [
            (
                "warning",
                (
                    "artifact _sklearn_regression_model of definition Deploy sklearn model belongs to one workspace, "
                    "but the route matches versions of all 2"
                ),
                FIRST,
                "set the route's `workspace`",
            )
        ],
    ),
    "a workspace that is not the app's": (
        route(1, workspace="test"),
        [("warning", "workspace test is not in AML_WORKSPACES", SECOND, "add its resource ID")],
    ),
    "a registry that is not the app's": (
        route(1, registry="shared", workspace=None),
        [("warning", "registry shared is not in AML_REGISTRIES", SECOND, "add its resource ID to AML_REGISTRIES")],
    ),
    "an artifact of a workspace for the versions of a registry": (
        lambda checked: route(0, registry="Shared")(checked) or checked.settings.update(AML_REGISTRIES=REGISTRY),
        [
            (
                "warning",
                (
                    "artifact _sklearn_regression_model of definition Deploy sklearn model cannot take a version of "
                    "registry Shared, and has its default version then"
                ),
                FIRST,
                "let the stages use ModelVersion",
            )
        ],
    ),
    "only an artifact for the versions of a registry": (
        lambda checked: (
            route(0, registry="Shared")(checked)
            or checked.settings.update(AML_REGISTRIES=REGISTRY)
            or checked.definition()["variables"].clear()
        ),
        [
            (
                "fault",
                "definition Deploy sklearn model does not accept a model version",
                FIRST,
                "because an AzureML model artifact cannot take a version of a registry",
            ),
            ("warning", "cannot take a version of registry Shared", FIRST, "then remove the artifact"),
        ],
    ),
    "the sign-in is not accepted": (
        lambda checked: setattr(checked.azure_devops, "_pat", "another"),
        [("fault", "does not accept the sign-in (status 302)", f"{FIRST}, {SECOND}", "renew the token")],
    ),
    "permissions cannot be read": (
        lambda checked: checked.azure_devops.misbehave(Fault(path="/_apis/permissions/", status=403)),
        [
            ("warning", f"permissions on definition {name} cannot be read", where, "verify that this identity has")
            for name, where in (("Deploy sklearn model", FIRST), ("Deploy fraud model", SECOND))
        ],
    ),
}


def assert_found(wrong: list[dict[str, str]], expected: list[tuple[str, str, str, str]]) -> None:
    assert len(wrong) == len(expected), wrong
    for finding, (severity, message, where, fix) in zip(wrong, expected, strict=True):
        assert (finding["severity"], finding["where"]) == (severity, where)
        assert message in finding["message"]
        assert fix in finding["fix"]


@pytest.mark.parametrize(("plant", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_and_no_other(
    checked: Checked, plant: Callable[[Checked], object], expected: list[tuple[str, str, str, str]]
) -> None:
    plant(checked)

    assert_found(checked.wrong(), expected)


HARMLESS: dict[str, Callable[[Checked], object]] = {
    "a trigger on another artifact": lambda checked: (
        checked.definition()["artifacts"].append(
            {**checked.definition()["artifacts"][0], "type": "Build", "alias": "_code"}
        )
        or checked.definition()["triggers"].append(trigger("_code"))
    ),
    "a trigger for a model without a route": lambda checked: (
        checked.definition()["artifacts"].append(model_artifact("_o", "other"))
        or checked.definition()["triggers"].append(trigger("_o"))
    ),
    "a stage with a schedule": lambda checked: (
        start_no_stage(checked) or checked.definition()["environments"][0].update(schedules=[{"daysToRelease": "all"}])
    ),
    "one definition, with its name in another case": lambda checked: (
        checked.routes.append({"model": "other", "release": {"project": "FRAUD", "definition": "deploy SKLEARN model"}})
        or checked.definition()["variables"].update(ModelVersion={"value": "", "allowOverride": True})
    ),
    "one definition by ID and by name, for versions of a workspace and of a registry": lambda checked: (
        checked.routes.append(
            {
                "model": "fraud_*",
                "registry": "Shared",
                "release": {"project": "risk", "definition": "Deploy fraud model"},
            }
        )
        or checked.settings.update(AML_REGISTRIES=REGISTRY)
        or checked.routes[0].update(workspace="prod")
    ),
    "versions with order": route(0, version="2*"),
    "versions without order, and order every": route(0, version="2024-*", order="every"),
    "a disabled route to a missing definition": lambda checked: (
        checked.routes[1].update(enabled=False) or checked.routes[1]["release"].update(definition=99)
    ),
    "one definition by ID and by name, for versions that match one route each": lambda checked: (
        checked.routes.extend(
            {"model": "fraud_*", "release": {"project": "risk", "definition": "Deploy fraud model"}, **only}
            for only in ({"workspace": "test", "version": ">1"}, {"tags": {"stage": "test"}})
        )
        or checked.routes[0].update(workspace="prod")
        or checked.settings.update(AML_WORKSPACES=TWO_WORKSPACES)
    ),
    "globs without a common model": lambda checked: checked.routes.append(
        {"model": "churn_*", "release": {"project": "risk", "definition": "\\models\\Deploy fraud model"}}
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_configuration_has_no_faults(checked: Checked, change: Callable[[Checked], object]) -> None:
    change(checked)

    assert checked.wrong() == []


def test_a_deleted_definition_that_azure_devops_returns_is_a_fault(checked: Checked) -> None:
    (checked.folder / "map.yaml").write_text(yaml.safe_dump({"version": 1, "routes": checked.routes}))
    first = load(checked.folder / "map.yaml").routes[0]
    content = {**checked.definition(), "isDeleted": True}

    (found,) = DefinitionCheck(first, first.options, content, FIRST).state()

    assert (found.severity, found.message) == ("fault", "definition Deploy sklearn model is deleted")


@pytest.mark.parametrize("kind", ["definition", "pipeline"])
def test_a_name_without_a_folder_is_a_warning_with_the_id(checked: Checked, kind: str) -> None:
    name = {"definition": "Deploy sklearn model", "pipeline": "Deploy churn"}[kind]
    place = {"definition": "fraud", "pipeline": "growth"}[kind]
    option = {"definition": "release", "pipeline": "pipeline"}[kind]

    def warned(target: str | int) -> list[dict[str, str]]:
        checked.routes = [{"model": "churn", option: {"project": place, kind: target}}]
        return [finding for finding in checked.findings() if BARE_NAME in finding["message"]]

    (warning,) = warned(name)

    assert warning["severity"] == "warning"
    assert "means ID 1 now" in warning["message"]
    assert warning["fix"] == f"write the ID: `{kind}: 1`, or add the folder"
    assert warned(f"\\{name}") == warned(1) == []


def test_permissions_of_a_project_without_an_id_are_a_warning() -> None:
    definition = permissions.release_definition({"id": 1, "name": "Deploy", "path": "\\"})

    (found,) = permissions.check_permissions(definition, AzureDevOps(), FIRST)

    assert (found.severity, "the project's ID is not known" in found.message) == ("warning", True)


def test_the_table_lists_faults_first_with_their_fixes(checked: Checked) -> None:
    PLANTED["no stage starts automatically"][0](checked)
    PLANTED["may not create releases"][0](checked)

    done = checked.check()

    lines = [line for line in done.stdout.splitlines() if line.startswith(("fault", "warning", "ok"))]
    assert done.stdout.split()[:4] == ["Severity", "Message", "Where", "Fix"]
    assert [line.split()[0] for line in lines] == ["fault", "warning", "warning", "ok", "ok", "ok"]
    assert "grant Create releases in the definition's security" in lines[0]
    assert done.stdout.endswith("\n1 fault\n")
    assert (done.exit_code, done.stderr) == (1, "")


def test_an_unreachable_azure_devops_is_one_fault_and_ends_the_check(checked: Checked) -> None:
    checked.url = "http://127.0.0.1:9"

    (found,) = checked.wrong()

    assert found["message"] == "Azure DevOps cannot be reached: connection refused"
    assert (found["where"], found["fix"]) == (FIRST, "check again; the remaining checks were skipped")


def workspace_is_missing(checked: Checked) -> None:
    checked.settings["AML_WORKSPACES"] = WORKSPACE.replace("/prod", "/gone")


def right_is_missing(checked: Checked) -> None:
    checked.azure.misbehave(Fault(path="/versions/", status=403))


@pytest.mark.parametrize(
    ("break_it", "problem", "fix"),
    [
        (
            workspace_is_missing,
            "workspace gone cannot be read: Azure Resource Manager answered 404",
            "correct the works",
        ),
        (
            right_is_missing,
            "workspace prod cannot be read: Azure Resource Manager answered 403",
            "models/versions/read",
        ),
    ],
)
def test_a_workspace_that_cannot_be_read_is_a_fault_unless_events_are_believed(
    checked: Checked, break_it: Callable[[Checked], object], problem: str, fix: str
) -> None:
    break_it(checked)

    found = checked.wrong()[0]
    checked.settings["CONFIRM_MODELS"] = "false"
    wrong = {one["where"]: one for one in checked.wrong()}

    assert found["severity"] == "fault"
    assert problem in found["message"]
    assert fix in found["fix"]
    assert wrong[found["where"]] == found | {"severity": "warning"}
    assert wrong["CONFIRM_MODELS"]["message"].startswith("CONFIRM_MODELS is false")


def test_a_workspace_without_models_can_be_read(checked: Checked) -> None:
    assert "the models of workspace prod can be read; no version is registered" in checked.check().output


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_other_routes_are_checked_if_azure_devops_answers_one_with_an_error(checked: Checked, status: int) -> None:
    checked.azure_devops.misbehave(Fault(path="searchText=Deploy", status=status))
    checked.definition(42)["isDisabled"] = True

    wrong = {finding["where"]: finding for finding in checked.wrong()}

    assert (wrong[FIRST]["fix"], str(status) in wrong[FIRST]["message"]) == ("check again", True)
    assert wrong[SECOND]["message"] == "definition Deploy fraud model is disabled"


def test_all_faults_of_settings_and_map_are_reported_at_once(checked: Checked) -> None:
    checked.settings = {"AML_WORKSPACES": "", "AzureWebJobsStorage": ""}
    checked.routes[0]["modle"] = "x"

    wrong = checked.wrong()

    assert sorted(finding["where"] for finding in wrong) == ["AML_WORKSPACES", "AzureWebJobsStorage", "map.yaml"]
    assert all(finding["fix"].endswith("; the remaining checks were skipped") for finding in wrong)
    assert checked.azure_devops.requests == []


def test_with_map_and_url_no_settings_are_needed(checked: Checked) -> None:
    checked.settings = {"AML_WORKSPACES": "", "AzureWebJobsStorage": "", "AZURE_DEVOPS_URL": "", "RELEASE_MAP": ""}
    arguments = "--map", str(checked.folder / "map.yaml"), "--url", f"{checked.url}/contoso"

    assert checked.wrong(*arguments) == []
    checked.definition()["isDisabled"] = True
    assert [finding["severity"] for finding in checked.wrong(*arguments)] == ["fault"]


def test_faults_of_the_options_map_and_url_are_reported(checked: Checked) -> None:
    checked.routes[0]["modle"] = "x"

    wrong = checked.wrong("--map", str(checked.folder / "map.yaml"), "--url", "contoso")

    assert [(finding["where"], finding["message"]) for finding in wrong] == [
        ("--url", "'contoso' does not begin with https://"),
        ("map.yaml", "routes[0].modle: unknown key"),
    ]


def properties(**changes: Any) -> Callable[[], dict[str, Any]]:
    return lambda: event_subscription(OF_TOPIC, **changes)


def filtered(**changes: Any) -> Callable[[], dict[str, Any]]:
    return properties(filter=event_filter(**changes))


def destination(kind: str = "AzureFunction", **changes: Any) -> Callable[[], dict[str, Any]]:
    default = event_subscription(OF_TOPIC)["properties"]["destination"]["properties"]
    return properties(destination={"endpointType": kind, "properties": {**default, **changes}})


SUBSCRIPTIONS: dict[str, tuple[Callable[[], dict[str, Any]], list[tuple[str, str, str]]]] = {
    "excludes a model": (
        filtered(subjectBeginsWith="models/sklearn_regression_model:"),
        [("fault", "excludes fraud_*", "shorten it to 'models/'")],
    ),
    "excludes some of a glob": (
        filtered(subjectBeginsWith="models/fraud_eu"),
        [
            ("fault", "excludes sklearn_regression_model", "shorten it to 'models/'"),
            ("fault", "excludes some models or versions that match fraud_*", "shorten it to 'models/'"),
        ],
    ),
    "wrong case": (
        filtered(subjectBeginsWith="Models/", isSubjectCaseSensitive=True),
        [("fault", "differs in case from 'models/", "use the case of the model's name")] * 2,
    ),
    "suffix": (
        filtered(subjectEndsWith=":3"),
        [("fault", "subjectEndsWith ':3' excludes versions of", "leave it empty")] * 2,
    ),
    "other event types": (
        filtered(includedEventTypes=["Microsoft.MachineLearningServices.RunCompleted"]),
        [("fault", "no event arrives", "include it")],
    ),
    "all event types": (
        filtered(includedEventTypes=None),
        [("warning", "delivers other events too", "include only")],
    ),
    "advanced filter": (
        filtered(advancedFilters=[{"key": "data.ModelTags.stage", "operatorType": "StringIn", "values": ["prod"]}]),
        [("warning", "data.ModelTags.stage StringIn ['prod'] excludes events", "filter in the release map")],
    ),
    "batches": (
        destination(maxEventsPerBatch=10),
        [("warning", "up to 10 events", "set maxEventsPerBatch to 1")],
    ),
    "no dead letters": (
        properties(deadLetterDestination=None),
        [("warning", "no dead-letter destination", "add a dead-letter destination")],
    ),
    "another function": (
        destination(resourceId="/subscriptions/1/sites/app/functions/other"),
        [("fault", "the destination is other, not the function model_registered", "APP_ID/functions/model_registered")],
    ),
    "a queue": (
        destination("StorageQueue"),
        [("fault", "the destination is StorageQueue", "APP_ID/functions/model_registered")],
    ),
    "another function's webhook": (
        destination("WebHook", endpointUrl="https://a.net/runtime/webhooks/eventgrid?functionName=other&code=x"),
        [("fault", "the destination is other", "APP_ID/functions/model_registered")],
    ),
    "another schema": (
        properties(eventDeliverySchema="CustomInputSchema"),
        [("fault", "delivery schema is CustomInputSchema", "EventGridSchema or CloudEventSchemaV1_0")],
    ),
    "not ready": (
        properties(provisioningState="AwaitingManualAction"),
        [("warning", "AwaitingManualAction, not Succeeded", "open the subscription")],
    ),
    "expires": (
        properties(expirationTimeUtc="2027-01-01T00:00:00Z"),
        [("warning", "expires at 2027-01-01T00:00:00Z", "remove the expiration")],
    ),
    "another workspace": (
        lambda: event_subscription(OF_WORKSPACE.replace("workspaces/prod", "workspaces/test")),
        [("fault", "workspaces/test, which is not in AML_WORKSPACES", "add the workspace")],
    ),
    "the workspace itself": (lambda: event_subscription(OF_WORKSPACE), []),
    "dead letters with an identity": (
        properties(deadLetterDestination=None, deadLetterWithResourceIdentity={"identity": {}}),
        [],
    ),
    "CloudEvents to the webhook": (
        lambda: {
            **destination("WebHook", endpointBaseUrl="https://a.net/runtime/webhooks/EventGrid")(),
            "eventDeliverySchema": "CloudEventSchemaV1_0",
        },
        [],
    ),
    "a prefix of all models": (filtered(subjectBeginsWith="MODELS/"), []),
}


def assert_subscription(wrong: list[dict[str, str]], expected: list[tuple[str, str, str]]) -> None:
    assert len(wrong) == len(expected), wrong
    for finding, (severity, message, fix) in zip(wrong, expected, strict=True):
        assert finding["severity"] == severity
        assert finding["where"].startswith("subscription model-release")
        assert message in finding["message"]
        assert fix in finding["fix"]


def wrong_in(content: dict[str, Any], folder: Path, release_map: ReleaseMap) -> list[dict[str, str]]:
    """Return the faults and warnings of the subscription in a file, without any other check."""
    file = folder / "subscription.json"
    file.write_text(json.dumps(content))
    no_azure: Any = None
    findings = check_subscription(str(file), no_azure, release_map, {Workspace.parse(WORKSPACE)})
    return [asdict(finding) for finding in findings if finding.severity is not Severity.OK]


@pytest.mark.parametrize("shown", [lambda content: content, as_az_shows], ids=["Azure's JSON", "az show"])
@pytest.mark.parametrize(("content", "expected"), SUBSCRIPTIONS.values(), ids=SUBSCRIPTIONS)
def test_a_fault_of_a_subscription_is_found_and_no_other(
    tmp_path: Path,
    content: Callable[[], dict[str, Any]],
    expected: list[tuple[str, str, str]],
    shown: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    assert_subscription(wrong_in(shown(content()), tmp_path, load(HOME / "release_map.yaml")), expected)


def test_the_command_finds_a_fault_of_the_subscription_in_a_file(checked: Checked) -> None:
    content, expected = SUBSCRIPTIONS["excludes some of a glob"]
    file = checked.folder / "subscription.json"
    file.write_text(json.dumps(as_az_shows(content())))

    assert_subscription(checked.wrong("--subscription", str(file)), expected)


@pytest.mark.parametrize(
    ("prefix", "case_sensitive", "expected"),
    [
        ("models/fraud", False, [("warning", "such as fraud-v2", "write 'models/fraud:' with the colon")]),
        ("models/fraud:", False, []),
        ("models/FRAUD:", False, []),
        ("models/FRAUD:", True, [("fault", "differs in case from 'models/fraud:'", "use the case")]),
        ("models/fraud:2", False, [("fault", "versions that match fraud", "shorten it to 'models/fraud:'")]),
        ("models/fraud-v2:", False, [("fault", "excludes fraud", "shorten it to 'models/fraud:'")]),
        ("", False, []),
    ],
)
def test_the_prefix_of_one_model(
    tmp_path: Path, prefix: str, *, case_sensitive: bool, expected: list[tuple[str, str, str]]
) -> None:
    routes = [{"model": "fraud", "release": {"project": "risk", "definition": 42}}]
    content = filtered(subjectBeginsWith=prefix, isSubjectCaseSensitive=case_sensitive)()

    assert_subscription(wrong_in(content, tmp_path, build_map(MapFile({"version": 1, "routes": routes}))), expected)


def test_a_subscription_may_deliver_only_the_versions_of_the_map(checked: Checked) -> None:
    checked.routes[:] = [{"model": "fraud", "version": 3, "release": {"project": "risk", "definition": 42}}]
    checked.azure.event_subscriptions[:] = [filtered(subjectBeginsWith="models/fraud:3", subjectEndsWith=":3")()]

    assert checked.wrong("--subscription", OF_TOPIC) == []


def test_a_missing_subscription_is_a_fault(checked: Checked) -> None:
    checked.azure.event_subscriptions.clear()

    (found,) = checked.wrong("--subscription", OF_TOPIC)

    assert "the subscription cannot be read: Azure Resource Manager answered 404" in found["message"]
    assert found["fix"].startswith("correct its resource ID")


def test_an_answer_without_a_subscription_is_a_fault(checked: Checked) -> None:
    checked.azure.misbehave(Fault(path="/eventSubscriptions/", unparsable=True))

    (found,) = checked.wrong("--subscription", OF_TOPIC)

    assert "Azure's answer is not an event subscription" in found["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "is not a JSON object"), ("{}", "not an event subscription"), ("no JSON", "is not JSON: line 1, column 1")],
)
def test_a_file_without_a_subscription_is_a_fault(checked: Checked, text: str, message: str) -> None:
    file = checked.folder / "subscription.json"
    file.write_text(text)

    (found,) = checked.wrong("--subscription", str(file))

    assert message in found["message"]
    assert found["fix"] == "pass what `az eventgrid … show` prints"


def test_a_subscription_is_a_file_or_a_resource_id(checked: Checked) -> None:
    done = checked.check("--subscription", "model-release")

    assert done.exit_code == 2
    assert "neither a file nor the resource ID of an event subscription" in done.output


CHURN = "routes[0] churn"


def run(**changes: Any) -> Callable[[Checked], object]:
    return lambda checked: checked.routes[0]["pipeline"].update(changes)


def pipeline(**changes: Any) -> Callable[[Checked], object]:
    return lambda checked: checked.azure_devops.pipelines.change(1, **changes)


def declare(**parameters: str | None) -> Callable[[Checked], object]:
    return pipeline(parameters={name: {"default": default} for name, default in parameters.items()})


CORRECT = "correct the route or the pipeline, or grant View build pipeline and Queue builds"
OF_A_PIPELINE: dict[str, tuple[Callable[[Checked], object], str, str]] = {
    "no such pipeline": (pipeline(name="Other"), "project growth has no pipeline Deploy churn", CORRECT),
    "no such ID": (run(pipeline=7), "Pipeline with id 7 was not found", CORRECT),
    "two pipelines of that name": (
        lambda checked: checked.azure_devops.add_pipeline("growth", "Deploy churn", folder="\\more"),
        "growth has 2 pipelines named Deploy churn",
        "write the folder too: \\Deploy churn, \\more\\Deploy churn",
    ),
    "no such project": (run(project="gone"), "project does not exist: gone", CORRECT),
    "disabled": (pipeline(disabled=True), "Deploy churn is disabled", CORRECT),
    "no such stage": (
        run(stages_to_skip=["Prodution"]),
        "'Prodution' is not a valid stage to skip",
        "correct stages_to_skip",
    ),
    "no such branch": (run(branch="refs/heads/gone"), "a commit of refs/heads/gone", CORRECT),
    "no such parameter": (run(parameters={"version": "{version}"}), "Unexpected parameter 'version'", CORRECT),
    "the marker is not declared": (
        declare(modelName=None, modelVersion=None),
        "Unexpected parameter 'modelReleaseMarker'",
        "declare the parameter modelReleaseMarker",
    ),
    "a parameter without a value": (
        declare(modelName=None, modelVersion=None, modelReleaseMarker="", more=None),
        "A value for the 'more' parameter must be provided",
        CORRECT,
    ),
    "may not view the pipeline": (
        lambda checked: checked.azure_devops.permissions.clear(),
        "or this identity cannot view it",
        CORRECT,
    ),
    "may not run the pipeline": (
        lambda checked: checked.azure_devops.permissions.discard("Queue builds"),
        "needs Queue builds permissions",
        CORRECT,
    ),
    "may not view its runs": (
        lambda checked: checked.azure_devops.permissions.discard("View builds"),
        "does not have the permission View builds on pipeline Deploy churn",
        "grant View builds in the pipeline's security",
    ),
    "may view other runs but not its runs": (
        lambda checked: checked.azure_devops.denied.update({pipeline_token(pipeline()(checked)): {"View builds"}}),
        "does not have the permission View builds on pipeline Deploy churn",
        "grant View builds in the pipeline's security",
    ),
    "the sign-in is not accepted": (
        lambda checked: checked.azure_devops.misbehave(Fault(sign_in=True)),
        "does not accept the sign-in (status 302)",
        "renew the token",
    ),
}


@pytest.fixture
def of_a_pipeline(checked: Checked) -> Checked:
    checked.routes = [{"model": "churn", "pipeline": {"project": "growth", "pipeline": "Deploy churn"}}]
    return checked


def test_a_correct_pipeline_has_no_faults_and_no_run_is_started(of_a_pipeline: Checked) -> None:
    of_a_pipeline.routes[0]["pipeline"]["pipeline"] = 1
    findings = of_a_pipeline.findings()

    assert [(finding["severity"], finding["message"], finding["where"]) for finding in findings] == [
        ("ok", "growth/1 (pipeline) accepts the route's parameters", CHURN),
        ("ok", "the models of workspace prod can be read; no version is registered", "workspace prod"),
    ]
    assert of_a_pipeline.azure_devops.runs == []


@pytest.mark.parametrize(("plant", "message", "fix"), OF_A_PIPELINE.values(), ids=OF_A_PIPELINE)
def test_a_planted_fault_of_a_pipeline_is_found_and_no_other(
    of_a_pipeline: Checked, plant: Callable[[Checked], object], message: str, fix: str
) -> None:
    plant(of_a_pipeline)

    assert_found(of_a_pipeline.wrong(), [("fault", message, CHURN, fix)])
    assert of_a_pipeline.azure_devops.runs == []


def many_models(checked: Checked, models: int) -> None:
    for number in range(models):
        checked.azure.add_version(WORKSPACE, f"m{number}", "1", created=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("models", "warned"), [(300, False), (302, True)])
def test_more_models_than_a_run_can_list_in_its_period_are_a_warning(
    checked: Checked, models: int, *, warned: bool
) -> None:
    checked.azure._page_size = 1000
    many_models(checked, models)

    checked.settings["CATCH_UP_SCHEDULE"] = "*/30 * * * * *"

    found = [one for one in checked.findings() if one["where"] == "CATCH_UP_SCHEDULE"]
    assert bool(found) == warned
    for one in found:
        assert one["severity"] == "warning"
        assert one["message"] == (
            "302 models every 30 s are 10 reads a second if all change, near the 25 that Azure Resource Manager "
            "allows; at most 10 are sent, so a run may last longer than its period"
        )
        assert one["fix"] == "let 1 minutes or more pass between two runs"

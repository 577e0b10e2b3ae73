"""Checking before a model does: each fault planted is found and named, and none is invented."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from local import azure_ml
from local.azure_devops import AzureDevOps, definition_token, sample
from local.azure_devops_faults import Fault
from local.azure_devops_pipelines import pipeline_token
from local.azure_devops_releases import model_artifact
from local.demo import WORKSPACE
from local.event_subscriptions import as_az_shows, event_filter, event_subscription
from local.serving import Server
from model_release.__main__ import main
from model_release.app import HOME
from model_release.cli.check import azure_devops as check_azure_devops
from model_release.cli.check import permissions as check_permissions
from model_release.domain.release_map import load

TOPIC = "/subscriptions/1/resourceGroups/ml-prod/providers/Microsoft.EventGrid/systemTopics/models"
OF_TOPIC = f"{TOPIC}/eventSubscriptions/model-release"
OF_WORKSPACE = f"{WORKSPACE}/providers/Microsoft.EventGrid/eventSubscriptions/model-release"


@dataclass
class Site:
    """A local Azure DevOps and a local Azure, and the command between them."""

    folder: Path
    azure_devops: AzureDevOps = field(default_factory=sample)
    azure: azure_ml.AzureMl = field(default_factory=lambda: azure_ml.AzureMl([WORKSPACE]))
    url: str = ""
    azure_url: str = ""
    routes: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def definition(self, number: int = 1) -> dict[str, Any]:
        return self.azure_devops._definitions[number]

    def check(self, *arguments: str) -> Result:
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
            "COLUMNS": "300",
        }
        return CliRunner(env=env | self.settings).invoke(main, ["check", *arguments])

    def findings(self, *arguments: str) -> list[dict[str, str]]:
        done = self.check("--json", *arguments)
        told = json.loads(done.stdout)
        faults = sum(finding["state"] == "fault" for finding in told["findings"])
        assert (done.exit_code, told["faults"]) == (bool(faults), faults), done.output
        return list(told["findings"])

    def wrong(self, *arguments: str) -> list[dict[str, str]]:
        return [finding for finding in self.findings(*arguments) if finding["state"] != "ok"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, routes=yaml.safe_load((HOME / "release_map.yaml").read_text())["routes"])
    with ExitStack() as stack:
        site.server = stack.enter_context(Server(site.azure_devops))
        site.url = site.server.url
        site.azure_url = stack.enter_context(Server(site.azure)).url
        site.azure.event_subscriptions.append(event_subscription(OF_TOPIC))
        yield site


def test_nothing_is_invented_where_all_is_well(site: Site) -> None:
    findings = site.findings("--subscription", OF_TOPIC)

    assert [(finding["state"], finding["what"]) for finding in findings] == [
        (
            "ok",
            (
                "definition Deploy sklearn model takes the version by artifact _sklearn_regression_model "
                "and variables ModelName, ModelVersion, ModelWorkspace"
            ),
        ),
        (
            "ok",
            (
                "definition Deploy fraud model takes the version by variables "
                "ModelName, ModelVersion, ModelWorkspace, Stage"
            ),
        ),
        ("ok", "lets the map's models through to the app"),
    ]
    assert {received.method for received in site.azure_devops.requests} <= {"GET", "OPTIONS"}


def fixed(value: str = "") -> dict[str, Any]:
    return {"value": value, "allowOverride": False}


def trigger(alias: str) -> dict[str, Any]:
    return {"artifactAlias": alias, "triggerType": "artifactSource", "triggerConditions": []}


def by_hand(site: Site) -> None:
    for stage in site.definition()["environments"]:
        stage["conditions"] = []


def double(site: Site) -> None:
    site.routes.append({"model": "sklearn_*", "release": {"project": "fraud", "definition": 1}})


def two_artifacts(site: Site) -> None:
    first = site.definition()["artifacts"][0]
    site.definition()["artifacts"].append({**first, "alias": "_again"})


def no_versions(site: Site) -> None:
    site.azure_devops._versions.clear()


def of_a_glob(site: Site) -> None:
    site.routes[0]["model"] = "sklearn_*"
    site.definition()["variables"] = {}


def namesake(site: Site) -> None:
    site.azure_devops.add_definition("fraud", "Deploy sklearn model", path="\\old")


def route(number: int, **changes: Any) -> Callable[[Site], None]:
    return lambda site: site.routes[number].update(changes)


def release(number: int, **changes: Any) -> Callable[[Site], None]:
    return lambda site: site.routes[number]["release"].update(changes)


def definition(**changes: Any) -> Callable[[Site], None]:
    return lambda site: site.definition().update(changes)


def denied(*permissions: str, number: int = 42) -> Callable[[Site], None]:
    return lambda site: site.azure_devops.denied.update({definition_token(site.definition(number)): set(permissions)})


FIRST, SECOND = "routes[0] sklearn_regression_model", "routes[1] fraud models to production"

PLANTED: dict[str, tuple[Callable[[Site], object], list[tuple[str, str, str, str]]]] = {
    "no such definition": (
        release(0, definition="Deploy"),
        [
            (
                "fault",
                "project fraud has no release definition Deploy",
                FIRST,
                "correct the route's project or definition",
            )
        ],
    ),
    "no such id": (
        release(1, definition=43),
        [("fault", "Release pipeline with ID 43 does not exist", SECOND, "correct the route's project or definition")],
    ),
    "no such project": (
        release(0, project="nowhere"),
        [("fault", "project does not exist: nowhere", FIRST, "correct the route's project or definition")],
    ),
    "two of that name": (
        namesake,
        [
            (
                "fault",
                "has 2 release definitions of that name",
                FIRST,
                "write the folder too: \\Deploy sklearn model, \\old",
            )
        ],
    ),
    "disabled": (
        definition(isDisabled=True),
        [("fault", "definition Deploy sklearn model is disabled", FIRST, "enable it")],
    ),
    "deleted": (
        definition(isDeleted=True),
        [("fault", "has no release definition Deploy sklearn model", FIRST, "correct the route")],
    ),
    "one definition by id and by name": (
        double,
        [
            (
                "fault",
                "fraud/Deploy sklearn model and fraud/1 are one definition",
                f"{FIRST} and routes[2] sklearn_*",
                "the same way in both",
            )
        ],
    ),
    "nothing takes the version": (
        definition(artifacts=[], variables={}),
        [
            (
                "fault",
                "definition Deploy sklearn model takes no model version",
                FIRST,
                "add an AzureML model artifact of sklearn_regression_model, or a variable ModelVersion",
            )
        ],
    ),
    "the variable is not settable": (
        lambda site: site.definition(42)["variables"].update(ModelVersion=fixed()),
        [
            (
                "fault",
                "definition Deploy fraud model takes no model version",
                SECOND,
                "add an AzureML model artifact of fraud_*, or a variable ModelVersion that is settable",
            )
        ],
    ),
    "a variable of the route is not settable": (
        lambda site: site.definition(42)["variables"].update(Stage=fixed()),
        [("fault", "variable Stage of definition Deploy fraud model is not settable", SECOND, "let it be settable")],
    ),
    "a variable of the route is not there": (
        lambda site: site.definition(42)["variables"].pop("Stage"),
        [("fault", "definition Deploy fraud model has no variable Stage", SECOND, "add it, settable at release time")],
    ),
    "two artifacts of the model": (
        two_artifacts,
        [("fault", "in the artifacts _sklearn_regression_model and _again", FIRST, "keep one")],
    ),
    "Azure DevOps does not tell how it names versions": (
        no_versions,
        [("fault", "does not tell how it names the versions", FIRST, "create one release by hand")],
    ),
    "artifact for some of a glob's models": (
        of_a_glob,
        [
            (
                "warning",
                "takes the versions of sklearn_regression_model, and refuses others of sklearn_*",
                "routes[0] sklearn_*",
                "add a variable ModelVersion",
            )
        ],
    ),
    "a manual stage that is not there": (
        release(1, manual_stages=["Prodution"]),
        [
            (
                "fault",
                "definition Deploy fraud model has no stage Prodution",
                SECOND,
                "correct the route's manual_stages",
            )
        ],
    ),
    "its own trigger is on": (
        definition(triggers=[trigger("_sklearn_regression_model")]),
        [("fault", "its own trigger on artifact _sklearn_regression_model", FIRST, "switch that trigger off")],
    ),
    "may not create releases": (
        denied("Create releases"),
        [
            (
                "fault",
                "no permission Create releases on definition Deploy fraud model",
                SECOND,
                "give it Create releases",
            )
        ],
    ),
    "may not view releases": (
        denied("View releases"),
        [("fault", "no permission View releases on definition Deploy fraud model", SECOND, "give it View releases")],
    ),
    "may not do either": (
        denied("View releases", "Create releases", number=1),
        [
            ("fault", "no permission View releases on definition Deploy sklearn", FIRST, "give it View releases"),
            ("fault", "no permission Create releases on definition Deploy sklearn", FIRST, "give it Create releases"),
        ],
    ),
    "may not view the definition": (
        denied("View release pipeline"),
        [("fault", "does not have view release pipeline permission", SECOND, "give View release pipeline")],
    ),
    "may not view the definition that is named": (
        denied("View release pipeline", number=1),
        [("fault", "or this identity may not view it", FIRST, "give View release pipeline")],
    ),
    "no stage starts by itself": (
        by_hand,
        [
            (
                "warning",
                "no stage of definition Deploy sklearn model starts by itself",
                FIRST,
                "let the first stage start",
            )
        ],
    ),
    "the first stage is a manual one": (
        release(1, manual_stages=["test", "Production"]),
        [("warning", "manual_stages names every stage", SECOND, "take the first stage out")],
    ),
    "versions without order": (
        route(0, version="2024-*"),
        [("warning", "versions such as 2024-* are no whole numbers", FIRST, "write `order: every`")],
    ),
    "an artifact of one workspace for the versions of two": (
        lambda site: site.settings.update(AML_WORKSPACES=f"{WORKSPACE},{WORKSPACE.replace('/prod', '/test')}"),
        [
            (
                "warning",
                (
                    "artifact _sklearn_regression_model of definition Deploy sklearn model is of one workspace, "
                    "and the route takes the versions of all 2"
                ),
                FIRST,
                "say `workspace` in the route",
            )
        ],
    ),
    "a workspace that is not the app's": (
        route(1, workspace="test"),
        [("warning", "workspace test is not in AML_WORKSPACES", SECOND, "add its resource id")],
    ),
    "sign-in is not accepted": (
        lambda site: setattr(site.azure_devops, "_pat", "another"),
        [("fault", "does not accept the sign-in (status 203)", f"{FIRST}, {SECOND}", "renew the token")],
    ),
    "permissions cannot be read": (
        lambda site: site.azure_devops.misbehave(Fault(path="/_apis/permissions/", status=403)),
        [
            ("warning", f"permissions on definition {name} could not be read", where, "look whether this identity has")
            for name, where in (("Deploy sklearn model", FIRST), ("Deploy fraud model", SECOND))
        ],
    ),
}


def assert_found(wrong: list[dict[str, str]], expected: list[tuple[str, str, str, str]]) -> None:
    assert len(wrong) == len(expected), wrong
    for finding, (state, what, where, what_to_do) in zip(wrong, expected, strict=True):
        assert (finding["state"], finding["where"]) == (state, where)
        assert what in finding["what"]
        assert what_to_do in finding["what_to_do"]


@pytest.mark.parametrize(("plant", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_and_no_other(
    site: Site, plant: Callable[[Site], object], expected: list[tuple[str, str, str, str]]
) -> None:
    plant(site)

    assert_found(site.wrong(), expected)


HARMLESS: dict[str, Callable[[Site], object]] = {
    "a trigger on another artifact": lambda site: (
        site.definition()["artifacts"].append({**site.definition()["artifacts"][0], "type": "Build", "alias": "_code"})
        or site.definition()["triggers"].append(trigger("_code"))
    ),
    "a trigger for a model of no route": lambda site: (
        site.definition()["artifacts"].append(model_artifact("_o", "other"))
        or site.definition()["triggers"].append(trigger("_o"))
    ),
    "a stage with a schedule": lambda site: (
        by_hand(site) or site.definition()["environments"][0].update(schedules=[{"daysToRelease": "all"}])
    ),
    "the same definition twice by the same name": lambda site: (
        site.routes.append({"model": "other", "release": {"project": "FRAUD", "definition": "deploy SKLEARN model"}})
        or site.definition()["variables"].update(ModelVersion={"value": "", "allowOverride": True})
    ),
    "versions in order": route(0, version="2*"),
    "versions without order, each started on purpose": route(0, version="2024-*", order="every"),
    "a disabled route to nowhere": lambda site: (
        site.routes[1].update(enabled=False) or site.routes[1]["release"].update(definition=99)
    ),
    "one definition by id and by name, for versions that no two routes share": lambda site: (
        site.routes.extend(
            {"model": "fraud_*", "release": {"project": "risk", "definition": "Deploy fraud model"}, **only}
            for only in ({"workspace": "test", "version": ">1"}, {"tags": {"stage": "test"}})
        )
        or site.routes[0].update(workspace="prod")
        or site.settings.update(AML_WORKSPACES=f"{WORKSPACE},{WORKSPACE.replace('/prod', '/test')}")
    ),
    "models that two globs cannot share": lambda site: site.routes.append(
        {"model": "churn_*", "release": {"project": "risk", "definition": "\\models\\Deploy fraud model"}}
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_fault_is_not_found(site: Site, change: Callable[[Site], object]) -> None:
    change(site)

    assert site.wrong() == []


def test_a_deleted_definition_that_is_still_told_is_found(site: Site) -> None:
    (site.folder / "map.yaml").write_text(yaml.safe_dump({"version": 1, "routes": site.routes}))
    first = load(site.folder / "map.yaml").routes[0]

    found = list(
        check_azure_devops._check_definition(first, first.release, {**site.definition(), "isDeleted": True}, FIRST)
    )

    assert [finding.what for finding in found if finding.state == "fault"] == [
        "definition Deploy sklearn model is deleted"
    ]


def test_permissions_that_cannot_be_asked_for_are_told() -> None:
    definition = check_permissions.release_definition({"id": 1, "name": "Deploy", "path": "\\"})
    (found,) = check_permissions.check_permissions(definition, AzureDevOps(), FIRST)

    assert (found.state, "does not tell the project's id" in found.what) == ("warning", True)


def test_faults_come_first_and_a_person_is_told_what_to_do(site: Site) -> None:
    PLANTED["no stage starts by itself"][0](site)
    PLANTED["may not create releases"][0](site)

    done = site.check()

    lines = [line for line in done.stdout.splitlines() if line.startswith(("fault", "warning", "ok"))]
    assert [line.split()[0] for line in lines] == ["fault", "warning", "ok", "ok"]
    assert "give it Create releases in the definition's security" in lines[0]
    assert done.stdout.endswith("\n1 fault\n")
    assert (done.exit_code, done.stderr) == (1, "")


def test_an_azure_devops_that_is_away_is_told_once_and_not_asked_again(site: Site) -> None:
    site.server.stop()

    (found,) = site.wrong()

    assert "Azure DevOps cannot be reached" in found["what"]
    assert found["where"] == FIRST


def test_every_fault_of_settings_and_map_is_told_at_once(site: Site) -> None:
    site.settings = {"AML_WORKSPACES": "", "AzureWebJobsStorage": ""}
    site.routes[0]["modle"] = "x"

    wrong = site.wrong()

    assert sorted(finding["where"] for finding in wrong) == ["release map", "settings", "settings"]
    assert site.azure_devops.requests == []


def test_a_pull_request_needs_no_settings_of_the_app(site: Site) -> None:
    site.settings = {"AML_WORKSPACES": "", "AzureWebJobsStorage": "", "AZURE_DEVOPS_URL": "", "RELEASE_MAP": ""}
    arguments = "--map", str(site.folder / "map.yaml"), "--url", f"{site.url}/contoso"

    assert site.wrong(*arguments) == []
    site.definition()["isDisabled"] = True
    assert [finding["state"] for finding in site.wrong(*arguments)] == ["fault"]


def test_a_map_that_cannot_be_read_fails_a_pull_request(site: Site) -> None:
    site.routes[0]["modle"] = "x"

    wrong = site.wrong("--map", str(site.folder / "map.yaml"), "--url", "contoso")

    assert [finding["what"] for finding in wrong] == [
        "--url 'contoso' does not begin with https://",
        "map.yaml: routes[0].modle: there is no such key",
    ]


def properties(**changes: Any) -> Callable[[], dict[str, Any]]:
    return lambda: event_subscription(OF_TOPIC, **changes)


def filtered(**changes: Any) -> Callable[[], dict[str, Any]]:
    return properties(filter=event_filter(**changes))


def destination(kind: str = "AzureFunction", **changes: Any) -> Callable[[], dict[str, Any]]:
    here = event_subscription(OF_TOPIC)["properties"]["destination"]["properties"]
    return properties(destination={"endpointType": kind, "properties": {**here, **changes}})


SUBSCRIPTIONS: dict[str, tuple[Callable[[], dict[str, Any]], list[tuple[str, str, str]]]] = {
    "holds one model back": (
        filtered(subjectBeginsWith="models/sklearn_regression_model:"),
        [("fault", "holds back fraud_*", "shorten it to 'models/'")],
    ),
    "holds some of a glob back": (
        filtered(subjectBeginsWith="models/fraud_eu"),
        [
            ("fault", "holds back sklearn_regression_model", "shorten it to 'models/'"),
            ("fault", "lets only some of what fraud_* names through", "shorten it to 'models/'"),
        ],
    ),
    "wrong case": (
        filtered(subjectBeginsWith="Models/", isSubjectCaseSensitive=True),
        [("fault", "differs in case from 'models/", "write it as the model is written")] * 2,
    ),
    "ends with": (
        filtered(subjectEndsWith=":3"),
        [("fault", "holds back the versions of", "leave it empty")] * 2,
    ),
    "other event types": (
        filtered(includedEventTypes=["Microsoft.MachineLearningServices.RunCompleted"]),
        [("fault", "no model arrives", "include it")],
    ),
    "all event types": (
        filtered(includedEventTypes=None),
        [("warning", "delivers other events too", "alone")],
    ),
    "advanced filter": (
        filtered(advancedFilters=[{"key": "data.ModelTags.stage", "operatorType": "StringIn", "values": ["prod"]}]),
        [("warning", "data.ModelTags.stage StringIn ['prod'] holds events back", "let the map filter")],
    ),
    "batches": (
        destination(maxEventsPerBatch=10),
        [("warning", "up to 10 events at once", "set maxEventsPerBatch to 1")],
    ),
    "no dead letters": (
        properties(deadLetterDestination=None),
        [("warning", "no dead-letter destination", "give it one")],
    ),
    "another function": (
        destination(resourceId="/subscriptions/1/sites/app/functions/other"),
        [("fault", "its destination is other, not the function model_registered", "let it lead to")],
    ),
    "a queue": (
        destination("StorageQueue"),
        [("fault", "its destination is StorageQueue", "let it lead to")],
    ),
    "another function's webhook": (
        destination("WebHook", endpointUrl="https://a.net/runtime/webhooks/eventgrid?functionName=other&code=x"),
        [("fault", "its destination is other", "let it lead to")],
    ),
    "a schema of its own": (
        properties(eventDeliverySchema="CustomInputSchema"),
        [("fault", "delivers in the schema CustomInputSchema", "EventGridSchema or CloudEventSchemaV1_0")],
    ),
    "not ready": (
        properties(provisioningState="AwaitingManualAction"),
        [("warning", "AwaitingManualAction", "look at it")],
    ),
    "expires": (
        properties(expirationTimeUtc="2027-01-01T00:00:00Z"),
        [("warning", "expires at 2027-01-01T00:00:00Z", "take the expiration off")],
    ),
    "of another workspace": (
        lambda: event_subscription(OF_WORKSPACE.replace("workspaces/prod", "workspaces/test")),
        [("fault", "workspaces/test, which is not in AML_WORKSPACES", "add the workspace")],
    ),
    "of the workspace itself": (lambda: event_subscription(OF_WORKSPACE), []),
    "dead letters by identity": (
        properties(deadLetterDestination=None, deadLetterWithResourceIdentity={"identity": {}}),
        [],
    ),
    "cloud events to the webhook": (
        lambda: {
            **destination("WebHook", endpointBaseUrl="https://a.net/runtime/webhooks/EventGrid")(),
            "eventDeliverySchema": "CloudEventSchemaV1_0",
        },
        [],
    ),
    "a prefix of all": (filtered(subjectBeginsWith="MODELS/"), []),
}


@pytest.mark.parametrize("shown", [lambda content: content, as_az_shows], ids=["Azure's JSON", "az show"])
@pytest.mark.parametrize(("content", "expected"), SUBSCRIPTIONS.values(), ids=SUBSCRIPTIONS)
def test_what_a_subscription_holds_back_is_found_and_nothing_else(
    site: Site,
    content: Callable[[], dict[str, Any]],
    expected: list[tuple[str, str, str]],
    shown: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    file = site.folder / "subscription.json"
    file.write_text(json.dumps(shown(content())))

    wrong = site.wrong("--subscription", str(file))

    assert len(wrong) == len(expected), wrong
    for finding, (state, what, what_to_do) in zip(wrong, expected, strict=True):
        assert finding["state"] == state
        assert finding["where"].startswith("subscription model-release")
        assert what in finding["what"]
        assert what_to_do in finding["what_to_do"]


@pytest.mark.parametrize(
    ("prefix", "case_sensitive", "found"),
    [
        ("models/fraud", False, [("warning", "also matches fraud-v2", "write 'models/fraud:', with the colon")]),
        ("models/fraud:", False, []),
        ("models/FRAUD:", False, []),
        (
            "models/FRAUD:",
            True,
            [("fault", "differs in case from 'models/fraud:'", "write it as the model is written")],
        ),
        ("models/fraud:2", False, [("fault", "lets only some of what fraud names", "shorten it to 'models/fraud:'")]),
        ("models/fraud-v2:", False, [("fault", "holds back fraud", "shorten it to 'models/fraud:'")]),
        ("", False, []),
    ],
)
def test_the_prefix_of_one_model(
    site: Site, prefix: str, *, case_sensitive: bool, found: list[tuple[str, ...]]
) -> None:
    site.routes[:] = [{"model": "fraud", "release": {"project": "risk", "definition": 42}}]
    site.azure.event_subscriptions[:] = [
        filtered(subjectBeginsWith=prefix, isSubjectCaseSensitive=case_sensitive)(),
    ]

    wrong = site.wrong("--subscription", OF_TOPIC)

    assert len(wrong) == len(found)
    for finding, (state, what, what_to_do) in zip(wrong, found, strict=True):
        assert (finding["state"], what in finding["what"], what_to_do in finding["what_to_do"]) == (state, True, True)


def test_a_version_that_the_map_asks_for_may_be_all_that_is_let_through(site: Site) -> None:
    site.routes[:] = [{"model": "fraud", "version": 3, "release": {"project": "risk", "definition": 42}}]
    site.azure.event_subscriptions[:] = [filtered(subjectBeginsWith="models/fraud:3", subjectEndsWith=":3")()]

    assert site.wrong("--subscription", OF_TOPIC) == []


def test_a_subscription_that_is_not_there_is_a_fault(site: Site) -> None:
    site.azure.event_subscriptions.clear()

    (found,) = site.wrong("--subscription", OF_TOPIC)

    assert "could not be read: Azure answered 404" in found["what"]
    assert found["what_to_do"].startswith("correct its resource id")


def test_an_answer_that_is_no_subscription_is_a_fault(site: Site) -> None:
    site.azure.misbehave(Fault(path="/eventSubscriptions/", unparsable=True))

    (found,) = site.wrong("--subscription", OF_TOPIC)

    assert "Azure's answer is no event subscription" in found["what"]


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
def test_a_file_that_is_no_subscription_is_a_fault(site: Site, text: str) -> None:
    file = site.folder / "subscription.json"
    file.write_text(text)

    (found,) = site.wrong("--subscription", str(file))

    assert found["what_to_do"] == "give what `az eventgrid … show` prints"


def test_what_is_no_subscription_at_all_is_told(site: Site) -> None:
    done = site.check("--subscription", "model-release")

    assert done.exit_code == 2
    assert "neither a file nor the resource id of an event subscription" in done.output


CHURN = "routes[0] churn"


def run(**changes: Any) -> Callable[[Site], object]:
    return lambda site: site.routes[0]["pipeline"].update(changes)


def pipeline(**changes: Any) -> Callable[[Site], object]:
    return lambda site: site.azure_devops.pipelines.change(1, **changes)


def declare(**parameters: str | None) -> Callable[[Site], object]:
    return pipeline(parameters={name: {"default": default} for name, default in parameters.items()})


CORRECT = "correct the route or the pipeline"
OF_A_PIPELINE: dict[str, tuple[Callable[[Site], object], str, str]] = {
    "gone": (
        pipeline(name="Other"),
        "project growth has no pipeline Deploy churn",
        CORRECT,
    ),
    "gone id": (run(pipeline=7), "Pipeline with id 7 was not found", CORRECT),
    "equal names": (
        lambda site: site.azure_devops.add_pipeline("growth", "Deploy churn", folder="\\more"),
        "growth has 2 pipelines of that name",
        "write the folder too: \\Deploy churn, \\more\\Deploy churn",
    ),
    "project": (run(project="gone"), "project does not exist: gone", CORRECT),
    "disabled": (pipeline(disabled=True), "Deploy churn is disabled", CORRECT),
    "no such stage": (run(stages_to_skip=["Prodution"]), "Deploy churn has no stage Prodution", CORRECT),
    "no such branch": (run(branch="refs/heads/gone"), "a commit of refs/heads/gone", CORRECT),
    "no such parameter": (
        run(parameters={"version": "{version}"}),
        "Unexpected parameter 'version'",
        CORRECT,
    ),
    "undeclared marker": (
        declare(modelName=None, modelVersion=None),
        "Unexpected parameter 'modelReleaseMarker'; declare it in the pipeline's YAML",
        CORRECT,
    ),
    "a parameter without a value": (
        declare(modelName=None, modelVersion=None, modelReleaseMarker="", more=None),
        "A value for the 'more' parameter must be provided",
        CORRECT,
    ),
    "may not be viewed": (
        lambda site: site.azure_devops.permissions.clear(),
        "or this identity may not view it",
        "give View build pipeline and Queue builds",
    ),
    "may not be run": (
        lambda site: site.azure_devops.permissions.discard("Queue builds"),
        "needs Queue builds permissions",
        "give View build pipeline and Queue builds",
    ),
    "its runs may not be viewed": (
        lambda site: site.azure_devops.permissions.discard("View builds"),
        "has no permission View builds on pipeline Deploy churn",
        "give it View builds in the pipeline's security",
    ),
    "its runs may not be viewed, though those of others": (
        lambda site: site.azure_devops.denied.update({pipeline_token(pipeline()(site)): {"View builds"}}),
        "has no permission View builds on pipeline Deploy churn",
        "give it View builds in the pipeline's security",
    ),
    "sign-in": (
        lambda site: site.azure_devops.misbehave(Fault(sign_in=True)),
        "does not accept the sign-in (status 203)",
        "renew the token",
    ),
}


@pytest.fixture
def of_a_pipeline(site: Site) -> Site:
    site.routes = [{"model": "churn", "pipeline": {"project": "growth", "pipeline": "Deploy churn"}}]
    return site


def test_nothing_is_invented_where_all_is_well_with_a_pipeline_and_no_run_is_started(of_a_pipeline: Site) -> None:
    findings = of_a_pipeline.findings()

    assert [(finding["state"], finding["what"], finding["where"]) for finding in findings] == [
        ("ok", "growth/Deploy churn (pipeline) takes what the route hands over", CHURN)
    ]
    assert of_a_pipeline.azure_devops.runs == []


@pytest.mark.parametrize(("plant", "what", "what_to_do"), OF_A_PIPELINE.values(), ids=OF_A_PIPELINE)
def test_a_planted_fault_of_a_pipeline_is_found_and_no_other(
    of_a_pipeline: Site, plant: Callable[[Site], object], what: str, what_to_do: str
) -> None:
    plant(of_a_pipeline)

    assert_found(of_a_pipeline.wrong(), [("fault", what, CHURN, what_to_do)])
    assert of_a_pipeline.azure_devops.runs == []

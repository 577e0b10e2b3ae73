"""The SDK tamed: definitions, what is handed over, sign-in, and which answer means what."""

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from local.azure_devops_faults import Fault
from local.serving import Server
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.releases import release_url
from model_release.azure_devops.sdk import EntraSignIn, pat_sign_in
from model_release.domain.claims import State
from model_release.domain.events import parse
from model_release.domain.release_map import ReleaseStart, RunStart, Start, StartedRelease, Target
from model_release.errors import Busy, Refused, StartError, Unknown
from tests.environment import BOTH, World, assert_refused_until_mended, event
from tests.tls import spoiling_tls

MARKER = "[model-release 0]"


def a_start(definition: int | str = "Deploy sklearn model", project: str = "fraud", **changes: object) -> Start:
    start = ReleaseStart(
        target=Target(project, definition),
        route="a route",
        newest_only=True,
        variables={},
        hands_over_version=False,
        manual_stages=(),
        description="about it",
    )
    return dataclasses.replace(start, **changes)


def a_run(pipeline: int | str = "Deploy sklearn model", project: str = "fraud", **changes: object) -> RunStart:
    start = RunStart(
        target=Target(project, pipeline, "pipeline"),
        route="a route",
        newest_only=True,
        branch="",
        parameters={"modelName": "sklearn_regression_model", "modelVersion": "20"},
        stages_to_skip=(),
    )
    return dataclasses.replace(start, **changes)


A_START = {"release": a_start, "pipeline": a_run}


def client(world: World, sign_in: object = None, *, timeout: float = 10) -> AzureDevOps:
    return AzureDevOps(f"{world.azure_devops_url}/contoso", sign_in or pat_sign_in("a token"), timeout=timeout)


def begin(world: World, start: Start, *, timeout: float = 10, **data: object) -> StartedRelease:
    return client(world, timeout=timeout).start(start, parse(event(**data)), MARKER)


@pytest.mark.parametrize("definition", [1, "Deploy sklearn model", "DEPLOY SKLEARN MODEL", "\\Deploy sklearn model"])
def test_a_definition_is_found_by_id_by_name_and_by_folder(world: World, definition: int | str) -> None:
    world.azure_devops.add_definition("fraud", "Deploy sklearn model 2")

    assert begin(world, a_start(definition)).id == 1


def test_equal_names_are_told_apart_by_their_folder(world: World) -> None:
    for folder in ("\\a", "\\a\\b"):
        world.azure_devops.add_definition("fraud", "Twice", path=folder, variables={"ModelVersion": ""})

    with pytest.raises(
        Refused, match=r"2 release definitions of that name, so write the folder too: \\a\\Twice, \\a\\b\\Twice"
    ):
        begin(world, a_start("Twice"))
    begin(world, a_start("\\a\\b\\Twice"))

    assert world.azure_devops.releases[0]["releaseDefinition"]["path"] == "\\a\\b"


@pytest.mark.parametrize("form", ["{version}", "{model}:{version}"])
def test_the_form_of_the_version_id_is_read_from_the_version_list(world: World, form: str) -> None:
    world.azure_devops.model_version_id = form

    begin(world, a_start())

    version = world.azure_devops.releases[0]["artifacts"][0]["definitionReference"]["version"]
    assert version == {"id": form.format(model="sklearn_regression_model", version="20"), "name": "20"}


def test_the_form_of_the_version_id_is_not_read_from_what_is_no_model(world: World) -> None:
    world.azure_devops.model_version_id = "{model}:{version}"
    begin(world, a_start())
    artifacts = world.azure_devops.releases[0]["artifacts"]
    image = {"alias": "_image", "type": "DockerHub", "definitionReference": {"version": {"id": "v7", "name": "v7"}}}
    artifacts.insert(0, image)

    begin(world, a_start(), version=21)

    (sent,) = world.azure_devops.releases[1]["artifacts"]
    assert sent["definitionReference"]["version"]["id"] == "sklearn_regression_model:21"


def test_the_form_of_the_version_id_is_read_from_an_earlier_release_first(world: World) -> None:
    begin(world, a_start())
    before = len(world.azure_devops.requests)

    begin(world, a_start(), version=21)

    assert not any("versions" in request.path for request in world.azure_devops.requests[before:])


def test_an_unknown_form_of_the_version_id_is_never_guessed(world: World) -> None:
    world.azure_devops.add_definition(
        "fraud", "New", model_artifacts={"_new": "sklearn_regression_model"}, variables={"ModelVersion": ""}
    )
    world.azure_devops.model_version_id = "opaque-{version}"

    with pytest.raises(Refused, match="does not tell how it names the versions of artifact _new"):
        begin(world, a_start("New"))


def test_a_definition_that_takes_no_version_is_refused_with_what_to_add(world: World) -> None:
    world.azure_devops.add_definition(
        "fraud", "Bare", variables={"ModelVersion": {"value": "", "allowOverride": False}}
    )

    with pytest.raises(
        Refused, match="add an AzureML model artifact of sklearn_regression_model, or a variable ModelVersion"
    ):
        begin(world, a_start("Bare"))


def test_a_route_may_hand_the_version_over_in_a_variable_of_its_own(world: World) -> None:
    world.azure_devops.add_definition("fraud", "Own", variables={"ToDeploy": ""})

    begin(world, a_start("Own", variables={"todeploy": "20"}, hands_over_version=True))

    assert world.azure_devops.releases[0]["variables"]["ToDeploy"]["value"] == "20"


def test_everything_that_a_definition_lacks_is_told_at_once(world: World) -> None:
    world.azure_devops.add_definition("fraud", "Bare", variables={"Fixed": {"value": "", "allowOverride": False}})

    with pytest.raises(Refused) as caught:
        begin(world, a_start("Bare", variables={"Fixed": "1", "Missing": "2"}, manual_stages=("Prodution",)))

    for fault in (
        "Fixed of definition Bare is not settable",
        "no variable Missing",
        "no stage Prodution",
        "no model version",
    ):
        assert fault in str(caught.value)


def test_two_artifacts_of_one_model_are_refused(world: World) -> None:
    artifacts = {"_a": "sklearn_regression_model", "_b": "sklearn_regression_model"}
    world.azure_devops.add_definition("fraud", "Both", model_artifacts=artifacts)

    with pytest.raises(Refused, match="in the artifacts _a and _b"):
        begin(world, a_start("Both"))


def test_other_models_of_the_definition_keep_their_default_version(world: World) -> None:
    world.azure_devops.add_model_version("other", "5")
    artifacts = {"_this": "sklearn_regression_model", "_other": "other"}
    world.azure_devops.add_definition("fraud", "Both", model_artifacts=artifacts)

    begin(world, a_start("Both"))

    versions = {
        a["alias"]: a["definitionReference"]["version"]["name"] for a in world.azure_devops.releases[0]["artifacts"]
    }
    assert versions == {"_this": "20", "_other": "5"}


def test_stages_that_are_to_wait_for_a_person_wait(world: World) -> None:
    begin(world, a_start(manual_stages=("production",)))

    (release,) = world.azure_devops.releases
    waits = {stage["name"]: stage["conditions"] == [] for stage in release["environments"]}
    assert waits == {"Staging": False, "Production": True}


def test_what_the_route_says_of_a_variable_stands_before_what_is_always_set(world: World) -> None:
    begin(world, a_start(variables={"modelversion": "v20"}))

    assert world.azure_devops.releases[0]["variables"]["ModelVersion"]["value"] == "v20"


def test_a_definition_is_remembered_for_five_minutes(world: World) -> None:
    seconds = [0.0]
    azure_devops = AzureDevOps(
        f"{world.azure_devops_url}/contoso", pat_sign_in("a token"), timeout=10, monotonic=lambda: seconds[0]
    )

    def requests_of_a_start() -> int:
        before = len(world.azure_devops.requests)
        azure_devops.start(a_start(2), parse(event(model="another")), MARKER)
        return len(world.azure_devops.requests) - before

    world.azure_devops.add_definition("fraud", "Any", id=2, variables={"ModelVersion": ""})
    requests_of_a_start()
    assert requests_of_a_start() == 1
    seconds[0] = 299
    assert requests_of_a_start() == 1
    seconds[0] = 301
    assert requests_of_a_start() == 2


def test_a_long_description_keeps_its_marker(world: World) -> None:
    begin(world, a_start(description="x" * 10_000))

    assert world.azure_devops.releases[0]["description"] == "x" * 400 + " " + MARKER


def test_secret_variables_stay_secret(world: World) -> None:
    secret = {"value": "", "allowOverride": True, "isSecret": True}
    world.azure_devops.add_definition("fraud", "Secret", variables={"ModelVersion": "", "Key": secret})

    begin(world, a_start("Secret", variables={"Key": "hidden"}))

    body = json.loads(world.azure_devops.requests[-1].body)
    assert body["variables"]["Key"] == {"isSecret": True, "value": "hidden"}


def test_what_request_tells_is_what_is_sent(world: World) -> None:
    azure_devops = client(world)
    told = azure_devops.request(a_start(manual_stages=("Production",)), parse(event()), MARKER)

    azure_devops.start(a_start(manual_stages=("Production",)), parse(event()), MARKER)

    sent = world.azure_devops.requests[-1]
    assert (f"{world.azure_devops_url}{sent.path}", sent.body) == (told.url, told.body)


def test_a_marker_is_found_on_any_page_of_the_list(world: World) -> None:
    azure_devops = client(world)
    azure_devops.start(a_start(), parse(event()), MARKER)
    for _ in range(100):
        azure_devops.start(a_start(), parse(event()), "[model-release 1]")

    found = azure_devops.look(a_start().target, MARKER, world.clock.now.replace(year=2020))

    assert found
    assert found.id == 1


def test_every_request_is_signed_with_a_token_that_is_valid_now(world: World) -> None:
    sign_in = EntraSignIn(SimpleNamespace(get_token=lambda _: SimpleNamespace(token=world.azure_devops._pat)))
    world.azure_devops._pat = "old"
    azure_devops = client(world, sign_in)
    azure_devops.find(a_start().target)

    world.azure_devops._pat = "new"

    assert azure_devops.start(a_start(), parse(event()), MARKER).name == "Release-1"


@pytest.mark.parametrize("error", [ClientAuthenticationError, ServiceResponseError, ServiceRequestError])
def test_without_a_token_nothing_is_sent(world: World, error: type[AzureError]) -> None:
    def get_token(_scope: str) -> None:
        raise error("the identity is not there")

    with pytest.raises(Busy, match="no token for Azure DevOps could be had: the identity is not there"):
        client(world, EntraSignIn(SimpleNamespace(get_token=get_token))).start(a_start(), parse(event()), MARKER)

    assert world.azure_devops.requests == []


def test_a_token_that_comes_too_late_for_the_lease_starts_nothing(world: World) -> None:
    seconds = [0]

    def get_token(_scope: str) -> SimpleNamespace:
        seconds[0] += 61 * bool(world.azure_devops.requests)
        return SimpleNamespace(token="a token")

    sign_in = EntraSignIn(SimpleNamespace(get_token=get_token))
    azure_devops = AzureDevOps(
        f"{world.azure_devops_url}/contoso", sign_in, timeout=10, monotonic=lambda: seconds[0], patience=130
    )
    azure_devops.find(a_start().target)

    with pytest.raises(Busy, match="took more than 130 s to tell about fraud/Deploy sklearn model"):
        azure_devops.start(a_start(), parse(event()), MARKER)

    assert world.azure_devops.releases == []


def test_a_wrong_token_is_a_refusal(world: World) -> None:
    world.azure_devops._pat = "another"

    with pytest.raises(Refused, match="does not accept the sign-in"):
        begin(world, a_start())


@pytest.mark.usefixtures("netrc")
def test_a_password_for_this_server_in_a_netrc_file_does_not_replace_the_sign_in(world: World) -> None:
    world.azure_devops._pat = "a token"
    sign_in = EntraSignIn(SimpleNamespace(get_token=lambda _scope: SimpleNamespace(token="a token")))

    assert client(world, sign_in).start(a_start(), parse(event()), MARKER).name == "Release-1"


def test_the_proxy_of_the_environment_leads_to_azure_devops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", world.azure_devops_url)
    behind = AzureDevOps("http://azure.invalid/contoso", pat_sign_in("a token"), timeout=10)
    monkeypatch.delenv("HTTP_PROXY")

    assert behind.start(a_start(), parse(event()), MARKER).name == "Release-1"


POSTED = {
    "400": (Fault(status=400, body={"message": "VS402962: no"}), Refused, "VS402962: no"),
    "404 HTML": (Fault(status=404, body="<html>"), Refused, "404"),
    "409": (Fault(status=409, body={"message": "exists"}), Refused, "exists"),
    "429": (Fault(status=429, body={"message": "slow"}, headers={"Retry-After": "7"}), Busy, "slow"),
    "203": (Fault(sign_in=True), Refused, "status 203"),
    "302": (Fault(status=302, headers={"Location": "/"}), Refused, "status 302"),
    "401": (Fault(status=401, body={"message": "who"}), Refused, "status 401"),
    "408": (Fault(status=408), Unknown, "answered 408"),
    "500": (Fault(status=500, body={"message": "broken"}), Unknown, "broken"),
    "503": (Fault(status=503, headers={"Retry-After": "9"}), Unknown, "answered 503"),
    "empty": (Fault(status=200, body=""), Unknown, "answered 200"),
    "null": (Fault(status=200, body="null", headers={"Content-Type": "application/json"}), Unknown, "answered 200"),
    "half": (Fault(unparsable=True), Unknown, "answered 200"),
    "cut off": (Fault(truncate=True), Unknown, "did not answer"),
    "closed": (Fault(close="after"), Unknown, "did not answer"),
    "slow": (Fault(delay=1.2), Unknown, "did not answer"),
}


@BOTH
@pytest.mark.parametrize(("fault", "error", "message"), POSTED.values(), ids=POSTED)
def test_an_answer_to_the_creation_says_whether_it_may_exist(
    world: World, fault: Fault, error: type[StartError], message: str
) -> None:
    world.azure_devops.misbehave(dataclasses.replace(fault, **world.requests.start))

    with pytest.raises(error, match=message) as caught:
        begin(world, A_START[world.target](), timeout=1 if fault.delay else 10)

    assert type(caught.value) is error
    asked = fault.headers.get("Retry-After")
    assert caught.value.retry_after == (timedelta(seconds=int(asked)) if asked else None)
    assert sum(request.method == "POST" for request in world.azure_devops.requests) == 1


@pytest.mark.parametrize("asked", ["86400000", "9" * 40, "9" * 5000])
def test_no_answer_keeps_the_app_away_for_more_than_an_hour(world: World, asked: str) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=429, headers={"Retry-After": asked}))

    with pytest.raises(StartError) as caught:
        begin(world, a_start())

    assert caught.value.retry_after in (timedelta(hours=1), None)


def test_an_answer_that_tls_cannot_read_does_not_mean_that_nothing_was_created(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling_tls(world.azure_devops_url, tmp_path) as (url, certificate):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        behind = AzureDevOps(f"{url}/contoso", pat_sign_in("a token"), timeout=10)

        with pytest.raises(Unknown):
            behind.start(a_start(), parse(event()), MARKER)

        found = behind.look(a_start().target, MARKER, world.clock.now - timedelta(minutes=5))
    assert found
    assert found.name == "Release-1"


@BOTH
def test_a_refused_request_is_not_sent_again_to_a_target_that_has_not_changed(world: World) -> None:
    azure_devops, start = client(world), A_START[world.target]()
    azure_devops.find(start.target)
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403, body={"message": "no"}))

    with pytest.raises(Refused, match="no"):
        azure_devops.start(start, parse(event()), MARKER)

    assert sum(request.method == "POST" for request in world.azure_devops.requests) == 1


@BOTH
@pytest.mark.parametrize(("fault", "error", "message"), POSTED.values(), ids=POSTED)
def test_an_answer_to_a_question_never_means_that_it_may_exist(
    world: World, fault: Fault, error: type[StartError], message: str
) -> None:
    world.azure_devops.misbehave(dataclasses.replace(fault, **world.requests.find))

    with pytest.raises((Busy, Refused)) as caught:
        begin(world, A_START[world.target](), timeout=1 if fault.delay else 10)

    assert type(caught.value) is (Busy if error is Unknown else error)


def test_a_look_asks_for_what_was_created_since_the_claim(world: World) -> None:
    azure_devops = client(world)
    azure_devops.start(a_start(), parse(event()), MARKER)
    world.azure_devops.releases[0]["createdOn"] = "2020-01-01T00:00:00Z"

    assert azure_devops.look(a_start().target, MARKER, world.clock.now - timedelta(minutes=5)) is None


@BOTH
@pytest.mark.parametrize("name", ["429", "403", "500", "half", "cut off", "no address"])
def test_an_answer_to_a_look_never_passes_for_nothing_found(world: World, name: str) -> None:
    found = {"id": 5, "description": MARKER, "templateParameters": {"modelReleaseMarker": MARKER}}
    more = {
        "403": (Fault(status=403, body={"message": "no"}), Refused, ""),
        "no address": (Fault(status=200, body={"count": 1, "value": [found]}), Busy, ""),
    }
    fault, error, _ = (POSTED | more)[name]
    azure_devops, start = client(world), A_START[world.target]()
    azure_devops.start(start, parse(event()), MARKER)
    world.azure_devops.misbehave(dataclasses.replace(fault, **world.requests.look))

    with pytest.raises((Busy, Refused)) as caught:
        azure_devops.look(start.target, MARKER, world.clock.now - timedelta(minutes=5))

    assert type(caught.value) is (Busy if error is Unknown else error)


def _mend_permission(world: World) -> None:
    world.azure_devops.permissions |= {"Create releases", "View releases", "View release pipeline"}


REFUSALS = {
    "unknown definition": (
        lambda world: setattr(world, "gone", world.azure_devops._definitions.pop(1)),
        lambda world: world.azure_devops._definitions.update({1: world.gone}),
        "has no release definition Deploy sklearn model",
    ),
    "disabled definition": (
        lambda world: world.azure_devops._definitions[1].update(isDisabled=True),
        lambda world: world.azure_devops._definitions[1].update(isDisabled=False),
        "disabled",
    ),
    "missing permission": (
        lambda world: world.azure_devops.permissions.discard("Create releases"),
        _mend_permission,
        "does not have create releases permission",
    ),
    "nothing may be viewed": (
        lambda world: world.azure_devops.permissions.clear(),
        _mend_permission,
        "or this identity may not view it",
    ),
    "model artifact gone": (
        lambda world: world.azure_devops._definitions[1].update(artifacts=[], variables={}),
        lambda world: world.azure_devops._definitions[1].update(
            variables={"ModelVersion": {"value": "", "allowOverride": True}}
        ),
        "takes no model version",
    ),
}


@pytest.mark.parametrize("remembered", [False, True], ids=["cold", "remembered"])
@pytest.mark.parametrize(("spoil", "mend", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_tells_the_reason_and_once_mended_the_sweep_starts_it(
    world: World, spoil: Callable, mend: Callable, sentence: str, *, remembered: bool
) -> None:
    assert_refused_until_mended(world, spoil, mend, sentence, remembered=remembered)


def test_an_alias_that_was_renamed_since_is_asked_for_anew(world: World) -> None:
    world.app.registered(event(version=19))
    world.azure_devops._definitions[1]["artifacts"][0]["alias"] = "_renamed"

    (decision,) = world.app.registered(event(version=20))

    assert decision.state is State.STARTED
    assert world.azure_devops.releases[-1]["artifacts"][0]["alias"] == "_renamed"


@pytest.mark.parametrize(
    ("organization", "releases"),
    [
        ("https://dev.azure.com/contoso", "https://vsrm.dev.azure.com/contoso"),
        ("https://contoso.visualstudio.com", "https://contoso.vsrm.visualstudio.com"),
        ("https://tfs.contoso.com/DefaultCollection", "https://tfs.contoso.com/DefaultCollection"),
    ],
)
def test_releases_are_asked_for_where_the_organization_keeps_them(organization: str, releases: str) -> None:
    assert release_url(organization) == releases


@BOTH
def test_a_target_is_in_reach_when_its_project_answers_and_the_sign_in_is_right(world: World) -> None:
    target = A_START[world.target]().target
    client(world).reach(target)

    world.azure_devops._pat = "another"
    with pytest.raises(Refused, match="does not accept the sign-in"):
        client(world).reach(target)


def test_a_server_that_is_not_there_is_busy() -> None:
    with Server(lambda _request: None) as gone:
        url = gone.url

    with pytest.raises(Busy, match="cannot be reached"):
        AzureDevOps(f"{url}/contoso", pat_sign_in("x"), timeout=10).start(a_start(), parse(event()), MARKER)


def test_nothing_is_sent_when_finding_out_what_to_send_took_too_long(world: World) -> None:
    ticks = iter([0.0, 0.0, 61.0])
    azure_devops = AzureDevOps(
        f"{world.azure_devops_url}/contoso", pat_sign_in("a token"), timeout=10, monotonic=lambda: next(ticks, 61.0)
    )

    with pytest.raises(Busy, match="took more than 60 s to tell about fraud/Deploy sklearn model"):
        azure_devops.start(a_start(), parse(event()), MARKER)

    assert world.azure_devops.releases == []


def test_what_fails_in_telling_of_a_retry_after_does_not_pass_for_a_release_that_never_started(world: World) -> None:
    def fails(_pause: timedelta) -> None:
        raise ClientAuthenticationError("storage does not let us in")

    world.azure_devops.misbehave(Fault(method="POST", path="/releases", headers={"Retry-After": "30"}))
    azure_devops = AzureDevOps(f"{world.azure_devops_url}/contoso", pat_sign_in("a token"), timeout=10, throttled=fails)

    with pytest.raises(ClientAuthenticationError, match="storage does not let us in"):
        azure_devops.start(a_start(), parse(event()), MARKER)

    assert len(world.azure_devops.releases) == 1


def test_the_longest_retry_after_of_several_answers_is_told(world: World) -> None:
    told: list[timedelta] = []
    world.azure_devops.misbehave(
        Fault(method="GET", path="/definitions/1", headers={"Retry-After": "7"}),
        Fault(method="GET", path="/definitions", headers={"Retry-After": "30"}),
    )

    AzureDevOps(f"{world.azure_devops_url}/contoso", pat_sign_in("a token"), timeout=10, throttled=told.append).start(
        a_start(), parse(event()), MARKER
    )

    assert told == [timedelta(seconds=30)]

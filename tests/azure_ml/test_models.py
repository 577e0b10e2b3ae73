"""Listing model versions: completely, no more than needed, and never to a stranger."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from werkzeug.wrappers import Request, Response

from local import azure_ml as local
from local.azure_devops_faults import Fault
from local.serving import Server
from model_release.azure_ml.models import AzureMl, CannotList, ModelVersion
from model_release.azure_ml.models import models as azure_ml
from model_release.domain.events import Workspace

ID = "/subscriptions/1/resourceGroups/Group (1)/providers/Microsoft.MachineLearningServices/workspaces/Prod"
WORKSPACE = Workspace.parse(ID)
CREDENTIAL: Any = SimpleNamespace(get_token=lambda *_, **__: AccessToken("token", 2**31))
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Long enough for azure-core not to fall back to its own pauses of seconds.
AT_ONCE = {"Retry-After": "0.001"}


def listed(azure_ml: AzureMl, workspace: Workspace, *, since: datetime | None = None) -> Iterator[ModelVersion]:
    for model in azure_ml.models(workspace):
        yield from azure_ml.versions(workspace, model, since=since)


@dataclass
class Site:
    azure_ml: local.AzureMl
    url: str

    def add(self, model: str, *hours: int, **data: Any) -> None:
        for hour in hours:
            self.azure_ml.add_version(ID, model, str(hour), created=START + hour * HOUR, **data)

    def versions(self, since: datetime | None = None) -> list[ModelVersion]:
        return list(listed(AzureMl(CREDENTIAL, endpoint=self.url), WORKSPACE, since=since))

    def names(self, since: datetime | None = None) -> list[str]:
        return [f"{version.model}:{version.version}" for version in self.versions(since)]


@pytest.fixture
def site() -> Iterator[Site]:
    stand_in = local.AzureMl([ID], page_size=3)
    with Server(stand_in) as server:
        yield Site(stand_in, server.url)


@dataclass
class Answers:
    """Answers every request with the next of these bodies, and with the last for ever."""

    bodies: list[Any]
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        return Response(body if isinstance(body, str) else json.dumps(body), mimetype="application/json")


def list_answers(*bodies: Any) -> list[ModelVersion]:
    with Server(Answers(list(bodies))) as server:
        return list(listed(AzureMl(CREDENTIAL, endpoint=server.url), WORKSPACE))


def version(created: Any = "2026-01-01T00:00:00Z", **item: Any) -> dict[str, Any]:
    return {"value": [{"name": "1", "systemData": {"createdAt": created}, **item}]}


CONTAINERS = {"value": [{"name": "churn"}], "nextLink": None}


def test_a_model_version_is_read_whole(site: Site) -> None:
    site.add("churn", 7, tags={"stage": "production"}, properties={"by": "me"})

    (listed,) = site.versions()

    assert listed == ModelVersion(WORKSPACE, "churn", "7", START + 7 * HOUR, {"stage": "production"}, {"by": "me"})
    assert listed.created.tzinfo is UTC


def test_an_empty_workspace_has_no_versions(site: Site) -> None:
    assert site.versions() == []


def test_models_and_their_versions_are_listed_over_all_pages_newest_first(site: Site) -> None:
    for model in ("a", "b", "c", "d"):
        site.add(model, 1, 2, 3, 4)

    assert site.names() == [f"{model}:{hour}" for model in "abcd" for hour in (4, 3, 2, 1)]
    assert len(site.azure_ml.requests) == 2 + 4 * 2


def test_3000_versions_on_40_pages_are_listed_completely() -> None:
    stand_in = local.AzureMl(page_size=75)
    with Server(stand_in) as server:
        site = Site(stand_in, server.url)
        site.add("churn", *range(3000))

        assert site.names() == [f"churn:{hour}" for hour in reversed(range(3000))]
    assert len(stand_in.requests) == 1 + 40


@pytest.mark.parametrize(
    ("since", "names", "pages"),
    [(8, ["churn:9", "churn:8"], 1), (7, ["churn:9", "churn:8", "churn:7"], 2), (100, [], 1)],
)
def test_since_ends_reading_at_the_first_page_whose_last_version_is_older(
    site: Site, since: int, names: list[str], pages: int
) -> None:
    site.add("churn", *range(10))

    assert site.names(START + since * HOUR) == names
    assert len(site.azure_ml.requests) == 1 + pages


def test_since_ends_reading_at_an_old_version_that_is_not_listed() -> None:
    old = version("2025-01-01T00:00:00Z", properties={"isAnonymous": True})
    answers = Answers([CONTAINERS, {**old, "nextLink": "?page=2"}])
    with Server(answers) as server:
        versions = listed(AzureMl(CREDENTIAL, endpoint=server.url), WORKSPACE, since=START)

        assert list(versions) == []
    assert len(answers.requests) == 2


def test_a_new_version_of_an_old_model_is_found(site: Site) -> None:
    site.add("old", 1, 100)
    site.add("new", 100)

    assert site.names(START + 50 * HOUR) == ["new:100", "old:100"]


def test_only_what_is_needed_is_requested_as_it_is_needed(site: Site) -> None:
    site.add("churn", *range(10))
    versions = listed(AzureMl(CREDENTIAL, endpoint=site.url), WORKSPACE)

    next(versions)

    assert len(site.azure_ml.requests) == 2


def test_archived_and_anonymous_versions_and_models_are_left_out(site: Site) -> None:
    site.add("churn", 1, 2, 3)
    site.add("churn", 4, archived=True)
    site.add("churn", 5, anonymous=True)
    site.add("gone", 1)
    site.azure_ml.archive(ID, "churn", "2")
    site.azure_ml.archive(ID, "gone")

    assert site.names() == ["churn:3", "churn:1"]


@pytest.mark.parametrize("flag", ["isArchived", "isAnonymous"])
def test_what_is_not_active_is_left_out_even_if_the_server_lists_it(flag: str) -> None:
    container = {"value": [{"name": "gone", "properties": {flag: True}}, {"name": "churn", "properties": None}]}

    assert list_answers(container, version(properties={flag: True})) == []


@pytest.mark.parametrize("name", ["a b", "ä", "50%", "50%25", "a?b#c", "a/b", "a&b=c", "Churn", "-"])
def test_a_model_of_an_odd_name_is_listed(site: Site, name: str) -> None:
    site.add(name, *range(4))

    assert site.names() == [f"{name}:{hour}" for hour in (3, 2, 1, 0)]


def test_model_names_differ_by_case(site: Site) -> None:
    site.add("churn", 1)
    site.add("Churn", 2)

    assert site.names() == ["Churn:2", "churn:1"]


@pytest.mark.parametrize(
    "properties", [{}, {"properties": None}, {"properties": {"tags": None, "properties": None}}, {"properties": {}}]
)
def test_missing_tags_and_properties_are_empty(properties: dict[str, Any]) -> None:
    (listed,) = list_answers(CONTAINERS, version(**properties))

    assert (listed.tags, listed.properties) == ({}, {})


def test_tags_that_are_no_text_become_text() -> None:
    (listed,) = list_answers(CONTAINERS, version(properties={"tags": {"a": None, "b": 1, "c": True, "d": "x"}}))

    assert listed.tags == {"a": "", "b": "1", "c": "true", "d": "x"}


@pytest.mark.parametrize(
    ("text", "microseconds", "hour"),
    [
        ("2026-01-01T12:00:00.1234567Z", 123456, 12),
        ("2026-01-01T12:00:00.1234567+00:00", 123456, 12),
        ("2026-01-01T14:00:00.1+02:00", 100000, 12),
        ("2026-01-01T12:00:00Z", 0, 12),
        ("2026-01-01T12:00:00", 0, 12),
    ],
)
def test_every_form_of_the_time_of_creation_is_read_as_utc(text: str, microseconds: int, hour: int) -> None:
    (listed,) = list_answers(CONTAINERS, version(text))

    assert listed.created == datetime(2026, 1, 1, hour, 0, 0, microseconds, UTC)


def test_since_may_be_of_any_time_zone(site: Site) -> None:
    site.add("churn", 1, 2)

    assert site.names((START + 2 * HOUR).astimezone(timezone(5 * HOUR))) == ["churn:2"]


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:1", "management.azure.com", "127.0.0.1:{port}@evil"])
def test_a_next_page_elsewhere_is_refused_and_the_token_stays_here(host: str) -> None:
    answers = Answers([CONTAINERS])
    with Server(answers) as server:
        elsewhere = host.format(port=server.url.rpartition(":")[2])
        answers.bodies = [{**CONTAINERS, "nextLink": f"http://{elsewhere}/models?$skip=3"}, {"value": []}]

        with pytest.raises(CannotList, match=r"workspace Prod .* next page is not to be trusted: http://"):
            list(listed(AzureMl(CREDENTIAL, endpoint=server.url), WORKSPACE))
    assert len(answers.requests) == 2


@pytest.mark.parametrize("link", ["https://127.0.0.1/x", "ftp://x", "http://[", "http://127.0.0.1:x/", "?", "//evil/x"])
def test_a_next_page_of_another_kind_is_refused(link: str) -> None:
    with pytest.raises(CannotList):
        list_answers({"value": [], "nextLink": link}, {"value": [], "nextLink": link})


def test_a_redirect_is_not_followed(site: Site) -> None:
    stranger = Answers([CONTAINERS])
    with Server(stranger) as server:
        site.azure_ml.misbehave(Fault(status=302, headers={"Location": f"{server.url}/models"}))

        with pytest.raises(CannotList, match="Azure answered 302"):
            site.versions()
    assert stranger.requests == []


@pytest.mark.parametrize("usual", ["https://management.azure.com", "http://127.0.0.1"])
def test_a_next_page_may_name_the_usual_port(usual: str) -> None:
    port = {"https": 443, "http": 80}[usual.partition(":")[0]]

    assert azure_ml._origin(f"{usual.upper()}:{port}/subscriptions?$skip=x") == azure_ml._origin(usual)
    assert azure_ml._origin(f"{usual}:8080/") != azure_ml._origin(usual)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_azure_is_asked_again(site: Site, status: int) -> None:
    site.add("churn", *range(7))
    site.azure_ml.misbehave(Fault(path="versions", status=status, headers=AT_ONCE, times=3))

    assert len(site.names()) == 7
    assert len(site.azure_ml.requests) == 1 + 3 + 3


@pytest.mark.parametrize("status", [429, 503])
def test_an_azure_that_stays_busy_is_given_up(site: Site, status: int) -> None:
    site.azure_ml.misbehave(Fault(status=status, headers=AT_ONCE, body={"error": {"code": "Busy", "message": "Later"}}))

    with pytest.raises(CannotList, match=f"Azure answered {status} Busy: Later"):
        site.versions()
    assert len(site.azure_ml.requests) == 4


@pytest.mark.parametrize("pause", ["3600", "soon"])
def test_a_pause_too_long_or_unreadable_is_not_waited_for(site: Site, pause: str) -> None:
    site.azure_ml.misbehave(Fault(status=429, headers={"Retry-After": pause}))

    with pytest.raises(CannotList):
        site.versions()
    assert len(site.azure_ml.requests) == 1


def test_an_azure_that_cannot_be_reached_is_told() -> None:
    with Server(Answers([CONTAINERS])) as server:
        url = server.url

    with pytest.raises(CannotList, match="workspace Prod cannot be read: Azure did not answer"):
        list(listed(AzureMl(CREDENTIAL, endpoint=url), WORKSPACE))


@pytest.mark.parametrize("fault", [Fault(close="before"), Fault(truncate=True), Fault(unparsable=True)])
def test_an_answer_that_breaks_off_is_told(site: Site, fault: Fault) -> None:
    site.add("churn", 1)
    site.azure_ml.misbehave(fault)

    with pytest.raises(CannotList):
        site.versions()


@pytest.mark.parametrize(
    "bodies",
    [
        ("<html>",),
        ("",),
        ([],),
        ({},),
        ({"value": None},),
        ({"value": [1]},),
        ({"value": [{}]},),
        ({"value": [], "nextLink": 1},),
        (CONTAINERS, "{"),
        (CONTAINERS, {"value": [None]}),
        (CONTAINERS, {"value": [{"name": "1"}]}),
        (CONTAINERS, version(None)),
        (CONTAINERS, version("yesterday")),
        (CONTAINERS, version(properties={"tags": ["a"]})),
    ],
)
def test_an_answer_that_is_not_as_documented_is_told(bodies: tuple[Any, ...]) -> None:
    with pytest.raises(CannotList, match="is not what is documented"):
        list_answers(*bodies)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, r"does not accept this identity's sign-in.*401 Code: Message"),
        (403, r"models/read and Microsoft\.MachineLearningServices/workspaces/models/versions/read.*403 Code: Message"),
        (400, r"cannot be read: Azure answered 400 Code: Message"),
    ],
)
def test_a_refusal_says_what_to_do(site: Site, status: int, told: str) -> None:
    site.azure_ml.misbehave(Fault(status=status, body={"error": {"code": "Code", "message": "Message"}}))

    with pytest.raises(CannotList, match=told):
        site.versions()
    assert len(site.azure_ml.requests) == 1


def test_a_workspace_that_is_not_there_is_told(site: Site) -> None:
    elsewhere = Workspace.parse(ID.replace("Prod", "Gone"))
    versions = listed(AzureMl(CREDENTIAL, endpoint=site.url), elsewhere)

    with pytest.raises(CannotList, match=r"workspace Gone .*is the workspace there.*404 ResourceNotFound"):
        list(versions)


@pytest.mark.parametrize("body", ["<html>", {"error": "text"}, {"error": {"code": None}}, ""])
def test_a_refusal_in_another_form_is_told(site: Site, body: Any) -> None:
    site.azure_ml.misbehave(Fault(status=403, body=body))

    with pytest.raises(CannotList, match="this identity needs the actions"):
        site.versions()


def test_a_token_is_asked_for_azure_resource_manager(site: Site) -> None:
    asked: list[str] = []

    def get_token(*scopes: str, **_: Any) -> AccessToken:
        asked.extend(scopes)
        return AccessToken("token", 2**31)

    credential: Any = SimpleNamespace(get_token=get_token)
    list(listed(AzureMl(credential, endpoint=f"{site.url}/"), WORKSPACE))

    assert asked == [f"{site.url}/.default"]


def test_no_token_is_told(site: Site) -> None:
    def get_token(*_: str, **__: Any) -> AccessToken:
        raise ClientAuthenticationError("nobody is signed in")

    credential: Any = SimpleNamespace(get_token=get_token)
    versions = listed(AzureMl(credential, endpoint=site.url), WORKSPACE)

    with pytest.raises(CannotList, match="no token for Azure could be had: nobody is signed in"):
        list(versions)


def test_a_token_is_not_sent_over_plain_http_to_another_machine() -> None:
    versions = listed(AzureMl(CREDENTIAL, endpoint="http://management.invalid"), WORKSPACE)

    with pytest.raises(CannotList, match="not permitted for non-TLS"):
        list(versions)


def test_a_next_page_that_was_read_already_is_refused() -> None:
    with pytest.raises(CannotList, match="not to be trusted"):
        list_answers({"value": [], "nextLink": "?page=2"})


def test_requests_carry_who_asks_and_what_is_documented() -> None:
    answers = Answers([CONTAINERS, {"value": []}])
    with Server(answers) as server:
        list(listed(AzureMl(CREDENTIAL, endpoint=server.url), WORKSPACE))

    containers, versions = answers.requests
    assert containers.args.to_dict() == {"api-version": "2024-10-01", "listViewType": "ActiveOnly"}
    assert versions.args["$orderBy"] == "createdtime desc"
    assert versions.path == f"{WORKSPACE.id}/models/churn/versions"
    assert containers.headers["Authorization"] == "Bearer token"
    assert "model-release" in containers.headers["User-Agent"]


def test_one_version_is_read_as_it_is_now(site: Site) -> None:
    site.add("churn", 1, 2, tags={"stage": "test"})
    site.azure_ml.archive(ID, "churn", "1")

    read = AzureMl(CREDENTIAL, endpoint=site.url).model_version(WORKSPACE, "churn", "1")

    assert (read.model, read.version, read.created, read.tags) == ("churn", "1", START + HOUR, {"stage": "test"})
    assert site.azure_ml.requests[0].query == "api-version=2024-10-01"


@pytest.mark.parametrize(("model", "version"), [("churn", "9"), ("other", "1")])
def test_one_version_that_is_not_registered_is_told(site: Site, model: str, version: str) -> None:
    site.add("churn", 1)

    with pytest.raises(CannotList, match=rf"{model} {version} is not registered there \(Azure answered 404"):
        AzureMl(CREDENTIAL, endpoint=site.url).model_version(WORKSPACE, model, version)


@pytest.mark.parametrize("body", [[], {}, {"name": "1"}])
def test_one_version_that_is_not_as_documented_is_told(body: Any) -> None:
    with Server(Answers([body])) as server, pytest.raises(CannotList, match="not what is documented"):
        AzureMl(CREDENTIAL, endpoint=server.url).model_version(WORKSPACE, "churn", "1")

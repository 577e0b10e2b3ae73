"""Model versions of Azure ML: read completely, with no needless request, and the token sent to Azure only."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl as LocalAzureMl
from local.serving import Server
from model_release.azure_ml.items import AzureMlError, ModelListError, ModelVersion, Skip
from model_release.azure_ml.models import AzureMl
from model_release.domain.claims import NEVER
from model_release.domain.events import Workspace
from tests.azure_devops import broken_servers as broken
from tests.in_memory import CREDENTIAL, at_once

ID = "/subscriptions/1/resourceGroups/Group (1)/providers/Microsoft.MachineLearningServices/workspaces/Prod"
WORKSPACE = Workspace.parse(ID)
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# With 0, azure-core would use its own pauses of seconds.
NO_PAUSE = {"Retry-After": "0.001"}


def listed(
    azure_ml: AzureMl, workspace: Workspace, *, since: datetime = NEVER, skip: Skip = pytest.fail
) -> Iterator[ModelVersion]:
    for model in azure_ml.models(workspace, skip=skip):
        yield from azure_ml.versions(workspace, model.name, since=since, skip=skip)


@dataclass
class LocalWorkspace:
    azure_ml: LocalAzureMl
    url: str

    def add(self, model: str, *hours: int, **data: Any) -> None:
        for hour in hours:
            self.azure_ml.add_version(ID, model, str(hour), created=START + hour * HOUR, **data)

    def versions(self, since: datetime = NEVER) -> list[ModelVersion]:
        return list(listed(AzureMl(CREDENTIAL, endpoint=self.url, pace=at_once()), WORKSPACE, since=since))

    def names(self, since: datetime = NEVER) -> list[str]:
        return [f"{version.model}:{version.version}" for version in self.versions(since)]


@pytest.fixture
def workspace() -> Iterator[LocalWorkspace]:
    azure_ml = LocalAzureMl([ID], page_size=3)
    with Server(azure_ml) as server:
        yield LocalWorkspace(azure_ml, server.url)


@dataclass
class Answers:
    """Answers each request with the next of these bodies, and then with the last one."""

    bodies: list[Any]
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        return Response(body if isinstance(body, str) else json.dumps(body), mimetype="application/json")


def list_answers(*bodies: Any) -> list[ModelVersion]:
    with Server(Answers(list(bodies))) as server:
        return list(listed(AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()), WORKSPACE))


def version(created: Any = "2026-01-01T00:00:00Z", **item: Any) -> dict[str, Any]:
    return {"value": [{"name": "1", "systemData": {"createdAt": created}} | item]}


NO_RESOURCE_GROUP = {"error": {"code": "ResourceGroupNotFound", "message": "Resource group 'Group (1)' is missing."}}
CONTAINERS = {"value": [{"name": "churn"}], "nextLink": None}


def test_a_model_version_is_read_with_tags_and_properties(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 7, tags={"stage": "production"}, properties={"by": "me"})

    (listed,) = workspace.versions()

    assert listed == ModelVersion(
        WORKSPACE, "churn", "7", START + 7 * HOUR, {"stage": "production"}, {"by": "me"}, "Succeeded"
    )
    assert listed.created.tzinfo is UTC


def test_an_empty_workspace_has_no_versions(workspace: LocalWorkspace) -> None:
    assert workspace.versions() == []


def test_models_and_their_versions_are_read_from_all_pages_newest_first(workspace: LocalWorkspace) -> None:
    for model in ("a", "b", "c", "d"):
        workspace.add(model, 1, 2, 3, 4)

    assert workspace.names() == [f"{model}:{hour}" for model in "abcd" for hour in (4, 3, 2, 1)]
    assert len(workspace.azure_ml.requests) == 2 + 4 * 2


def test_versions_on_40_pages_are_read_completely() -> None:
    azure_ml = LocalAzureMl(page_size=10)
    with Server(azure_ml) as server:
        workspace = LocalWorkspace(azure_ml, server.url)
        workspace.add("churn", *range(400))

        assert workspace.names() == [f"churn:{hour}" for hour in reversed(range(400))]
    assert len(azure_ml.requests) == 1 + 40


@pytest.mark.parametrize(
    ("since", "names", "pages"),
    [(8, ["churn:9", "churn:8"], 1), (7, ["churn:9", "churn:8", "churn:7"], 2), (100, [], 1)],
)
def test_since_ends_reading_at_the_first_page_whose_last_version_is_older(
    workspace: LocalWorkspace, since: int, names: list[str], pages: int
) -> None:
    workspace.add("churn", *range(10))

    assert workspace.names(START + since * HOUR) == names
    assert len(workspace.azure_ml.requests) == 1 + pages


def test_since_ends_reading_at_an_old_version_that_is_not_listed() -> None:
    old = version("2025-01-01T00:00:00Z", properties={"isAnonymous": True})
    answers = Answers([CONTAINERS, {**old, "nextLink": "?page=2"}])
    with Server(answers) as server:
        versions = listed(AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()), WORKSPACE, since=START)

        assert list(versions) == []
    assert len(answers.requests) == 2


def test_a_new_version_of_an_old_model_is_found(workspace: LocalWorkspace) -> None:
    workspace.add("old", 1, 100)
    workspace.add("new", 100)

    assert workspace.names(START + 50 * HOUR) == ["new:100", "old:100"]


def test_a_page_is_requested_only_when_it_is_needed(workspace: LocalWorkspace) -> None:
    workspace.add("churn", *range(10))
    versions = listed(AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()), WORKSPACE)

    next(versions)

    assert len(workspace.azure_ml.requests) == 2


def test_archived_and_anonymous_versions_and_models_are_omitted(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 1, 2, 3)
    workspace.add("churn", 4, archived=True)
    workspace.add("churn", 5, anonymous=True)
    workspace.add("gone", 1)
    workspace.azure_ml.archive(ID, "churn", "2")
    workspace.azure_ml.archive(ID, "gone")

    assert workspace.names() == ["churn:3", "churn:1"]


@pytest.mark.parametrize("flag", ["isArchived", "isAnonymous"])
def test_archived_and_anonymous_items_are_omitted_even_if_the_server_lists_them(flag: str) -> None:
    container = {"value": [{"name": "gone", "properties": {flag: True}}, {"name": "churn", "properties": None}]}

    assert list_answers(container, version(properties={flag: True})) == []


@pytest.mark.parametrize("name", ["a b", "ä", "50%", "50%25", "a?b#c", "a/b", "a&b=c", "Churn", "-"])
def test_a_model_with_special_characters_in_its_name_is_listed(workspace: LocalWorkspace, name: str) -> None:
    workspace.add(name, *range(4))

    assert workspace.names() == [f"{name}:{hour}" for hour in (3, 2, 1, 0)]


def test_model_names_differ_by_case(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 1)
    workspace.add("Churn", 2)

    assert workspace.names() == ["Churn:2", "churn:1"]


@pytest.mark.parametrize(
    "properties", [{}, {"properties": None}, {"properties": {"tags": None, "properties": None}}, {"properties": {}}]
)
def test_missing_tags_and_properties_are_empty(properties: dict[str, Any]) -> None:
    (listed,) = list_answers(CONTAINERS, version(**properties))

    assert (listed.tags, listed.properties) == ({}, {})


def test_tags_that_are_not_text_become_text() -> None:
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
def test_every_form_of_the_creation_time_is_read_as_utc(text: str, microseconds: int, hour: int) -> None:
    (listed,) = list_answers(CONTAINERS, version(text))

    assert listed.created == datetime(2026, 1, 1, hour, 0, 0, microseconds, UTC)


def test_since_may_have_any_time_zone(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 1, 2)

    assert workspace.names((START + 2 * HOUR).astimezone(timezone(5 * HOUR))) == ["churn:2"]


@pytest.mark.parametrize(
    "link",
    [
        "http://{other}/more?$skip=3",
        "//{other}/more?$skip=3",
        "http://{other}\\@{own}/more?$skip=3",
        "http://{own}@{other}/more?$skip=3",
        "http://{other}#@{own}/more?$skip=3",
        "https://management.azure.com:443/more?$skip=3",
        "{own}/more?$skip=3",
        "@{other}/more?$skip=3",
        "\\\\{other}/more?$skip=3",
        "/more?$skip=3",
    ],
)
def test_the_link_to_the_next_page_is_followed_at_the_own_server_whatever_it_names(link: str) -> None:
    answers, other = Answers([CONTAINERS]), Answers([{"value": []}])
    with Server(answers) as server, Server(other) as elsewhere:
        named = {"own": server.url.partition("//")[2], "other": elsewhere.url.partition("//")[2]}
        answers.bodies = [{**CONTAINERS, "nextLink": link.format(**named)}, {"value": []}]

        azure_ml = AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once())
        models = [one.name for one in azure_ml.models(WORKSPACE, skip=pytest.fail)]

    assert models == ["churn"]
    assert other.requests == []
    assert len(answers.requests) == 2


@pytest.mark.parametrize("link", ["http://[", "?", 1, ["x"], {"x": 1}])
def test_a_link_to_the_next_page_that_leads_nowhere_is_an_error(link: Any) -> None:
    with pytest.raises(AzureMlError):
        list_answers({"value": [], "nextLink": link}, {"value": [], "nextLink": link})


def test_a_redirect_is_not_followed(workspace: LocalWorkspace) -> None:
    other = Answers([CONTAINERS])
    with Server(other) as server:
        workspace.azure_ml.misbehave(Fault(status=302, headers={"Location": f"{server.url}/models"}))

        with pytest.raises(AzureMlError, match="Azure Resource Manager answered 302"):
            workspace.versions()
    assert other.requests == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_temporary_error_is_retried(workspace: LocalWorkspace, status: int) -> None:
    workspace.add("churn", *range(7))
    workspace.azure_ml.misbehave(Fault(path="versions", status=status, headers=NO_PAUSE, times=3))

    assert len(workspace.names()) == 7
    assert len(workspace.azure_ml.requests) == 1 + 3 + 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_temporary_error_that_persists_is_raised(workspace: LocalWorkspace, status: int) -> None:
    workspace.azure_ml.misbehave(
        Fault(status=status, headers=NO_PAUSE, body={"error": {"code": "ServerBusy", "message": "Later"}})
    )

    with pytest.raises(AzureMlError, match=f"Azure Resource Manager answered {status} ServerBusy: Later"):
        workspace.versions()
    assert len(workspace.azure_ml.requests) == 4


@pytest.mark.parametrize("pause", ["3600", "soon"])
def test_a_retry_after_that_is_too_long_or_unreadable_is_not_waited_for(workspace: LocalWorkspace, pause: str) -> None:
    workspace.azure_ml.misbehave(Fault(status=429, headers={"Retry-After": pause}))

    with pytest.raises(AzureMlError):
        workspace.versions()
    assert len(workspace.azure_ml.requests) == 1


@pytest.mark.parametrize(
    ("server", "reason"),
    [broken.REFUSED, broken.UNKNOWN_HOST, broken.RESET, broken.CLOSED, broken.CUT_OFF, broken.UNTRUSTED],
)
def test_a_failed_connection_is_reported_in_plain_words(
    server: broken.BrokenServer, reason: str, tmp_path: Path
) -> None:
    with server(tmp_path) as url, pytest.raises(AzureMlError) as caught:
        list(listed(AzureMl(CREDENTIAL, endpoint=url, pace=at_once()), WORKSPACE))

    assert str(caught.value) == (
        f"the model versions of workspace Prod cannot be read: Azure Resource Manager cannot be reached: {reason}"
    )


@pytest.mark.parametrize(
    "bodies",
    [
        ("<html>",),
        ("",),
        ([],),
        ({},),
        ({"value": None},),
        ({"value": [], "nextLink": 1},),
        (CONTAINERS, "{"),
        (CONTAINERS, {"value": 1}),
    ],
)
def test_an_answer_that_is_not_as_documented_is_reported_without_python_text(bodies: tuple[Any, ...]) -> None:
    reason = r"Azure Resource Manager answered 200: the answer is not (as documented|JSON)$"

    with pytest.raises(AzureMlError, match=reason):
        list_answers(*bodies)


OTHER_FORM = (
    "is skipped: Azure Resource Manager lists it in another form than documented; archive it, or compare it with"
)


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (None, "version null of churn"),
        (1, "version 1 of churn"),
        ({"name": "7"}, "version 7 of churn"),
        ({"name": "7", "systemData": None}, "version 7 of churn"),
        ({"systemData": {"createdAt": "2026-01-01T00:00:00Z"}}, r"version \{.* of churn"),
        ({"name": "7", "systemData": {"createdAt": "yesterday"}}, "version 7 of churn"),
        ({"name": "7", "systemData": {"createdAt": "0001-01-01T00:00:00+02:00"}}, "version 7 of churn"),
        (version(properties={"tags": ["a"]})["value"][0], "version 1 of churn"),
        (version(properties=[1])["value"][0], "version 1 of churn"),
    ],
)
def test_a_version_that_is_not_as_documented_is_skipped_alone_and_named(item: Any, named: str) -> None:
    skipped: list[AzureMlError] = []
    page = {"value": [*version(name="3")["value"], item, *version(name="2")["value"]]}
    with Server(Answers([CONTAINERS, page])) as server:
        versions = list(
            listed(AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()), WORKSPACE, skip=skipped.append)
        )

    assert [one.version for one in versions] == ["3", "2"]
    (problem,) = map(str, skipped)
    assert re.match(f"{named} in workspace Prod {OTHER_FORM}", problem)


@pytest.mark.parametrize(
    ("item", "named"), [(1, "model 1"), ({}, r"model \{\}"), ({"name": "a", "properties": 1}, "model a")]
)
def test_a_model_that_is_not_as_documented_is_skipped_alone_and_named(item: Any, named: str) -> None:
    skipped: list[AzureMlError] = []
    with Server(Answers([{"value": [item, {"name": "churn"}]}])) as server:
        models = list(AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()).models(WORKSPACE, skip=skipped.append))

    assert [model.name for model in models] == ["churn"]
    (problem,) = map(str, skipped)
    assert re.match(f"{named} in workspace Prod {OTHER_FORM}", problem)


@pytest.mark.parametrize("body", ["", {"error": {"code": "UserError", "message": "Model container churn not found"}}])
def test_a_model_that_azure_ml_does_not_have_is_skipped(workspace: LocalWorkspace, body: Any) -> None:
    workspace.add("churn", 1)
    workspace.add("fraud", 2)
    workspace.azure_ml.misbehave(Fault(path="churn/versions", status=404, body=body))
    skipped: list[AzureMlError] = []

    versions = list(listed(AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()), WORKSPACE, skip=skipped.append))

    assert [one.version for one in versions] == ["2"]
    (problem,) = map(str, skipped)
    assert problem.startswith("model churn in workspace Prod has no versions: Azure Resource Manager answered 404")


def test_a_model_that_disappears_between_two_pages_is_listed_again(workspace: LocalWorkspace) -> None:
    workspace.add("churn", *range(9))
    workspace.azure_ml.misbehave(Fault(path="skip=", status=404, body={"error": {"code": "UserError"}}))

    with pytest.raises(ModelListError, match="the versions of churn in workspace Prod cannot be read"):
        workspace.versions()


READ_ACTIONS = (
    "grant this identity the actions Microsoft.MachineLearningServices/workspaces/models/read and "
    "Microsoft.MachineLearningServices/workspaces/models/versions/read on the workspace"
)


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "use an identity of the workspace's tenant"), (403, READ_ACTIONS), (400, "")]
)
def test_a_refusal_has_a_problem_and_a_fix(workspace: LocalWorkspace, status: int, fix: str) -> None:
    workspace.azure_ml.misbehave(Fault(status=status, body={"error": {"code": "Code", "message": "Message"}}))

    with pytest.raises(AzureMlError) as caught:
        workspace.versions()

    assert caught.value.problem == (
        f"the model versions of workspace Prod cannot be read: Azure Resource Manager answered {status} Code: Message"
    )
    assert caught.value.fix == fix
    assert len(workspace.azure_ml.requests) == 1


def test_an_unknown_workspace_is_refused_with_a_fix(workspace: LocalWorkspace) -> None:
    unknown = Workspace.parse(ID.replace("Prod", "Gone"))

    with pytest.raises(AzureMlError, match=r"workspace Gone .* answered 404 ResourceNotFound") as caught:
        list(listed(AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()), unknown))

    assert caught.value.fix == "correct the workspace's resource ID, or remove the workspace from AML_WORKSPACES"


@pytest.mark.parametrize(("status", "error"), [(500, ModelListError), (403, AzureMlError), (400, AzureMlError)])
def test_an_error_that_concerns_one_model_is_distinguished(
    workspace: LocalWorkspace, status: int, error: type[AzureMlError]
) -> None:
    workspace.add("churn", 1)
    workspace.azure_ml.misbehave(Fault(path="versions", status=status, headers=NO_PAUSE))

    with pytest.raises(AzureMlError) as caught:
        workspace.versions()

    assert type(caught.value) is error


@pytest.mark.parametrize("body", ["<html>", {"error": "text"}, {"error": {"code": None}}, ""])
def test_a_refusal_without_words_has_a_fix_too(workspace: LocalWorkspace, body: Any) -> None:
    workspace.azure_ml.misbehave(Fault(status=403, body=body))

    with pytest.raises(AzureMlError, match=r"answered 403( Forbidden|)") as caught:
        workspace.versions()

    assert caught.value.fix == READ_ACTIONS


def test_the_token_is_for_azure_resource_manager(workspace: LocalWorkspace) -> None:
    requested: list[str] = []

    def get_token(*scopes: str, **_: Any) -> AccessToken:
        requested.extend(scopes)
        return AccessToken("token", 2**31)

    credential: Any = SimpleNamespace(get_token=get_token)
    list(listed(AzureMl(credential, endpoint=f"{workspace.url}/", pace=at_once()), WORKSPACE))

    assert requested == [f"{workspace.url}/.default"]


def test_without_a_token_nothing_is_sent(workspace: LocalWorkspace) -> None:
    def get_token(*_: str, **__: Any) -> AccessToken:
        raise ClientAuthenticationError

    credential: Any = SimpleNamespace(get_token=get_token)
    versions = listed(AzureMl(credential, endpoint=workspace.url, pace=at_once()), WORKSPACE)

    with pytest.raises(
        AzureMlError, match="cannot get a token for Azure Resource Manager: no sign-in to Azure succeeded"
    ):
        list(versions)
    assert workspace.azure_ml.requests == []


def test_no_token_is_sent_over_plain_http_to_another_machine() -> None:
    versions = listed(AzureMl(CREDENTIAL, endpoint="http://management.invalid", pace=at_once()), WORKSPACE)

    with pytest.raises(AzureMlError, match="not permitted for non-TLS"):
        list(versions)


def test_a_next_page_that_was_read_before_is_refused() -> None:
    with pytest.raises(AzureMlError, match="the next page was read before"):
        list_answers({"value": [], "nextLink": "?page=2"})


def test_requests_have_the_documented_parameters_and_a_user_agent() -> None:
    answers = Answers([CONTAINERS, {"value": []}])
    with Server(answers) as server:
        list(listed(AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()), WORKSPACE))

    containers, versions = answers.requests
    assert containers.args.to_dict() == {"api-version": "2024-10-01", "listViewType": "ActiveOnly"}
    assert versions.args["$orderBy"] == "createdtime desc"
    assert versions.path == f"{WORKSPACE.id}/models/churn/versions"
    assert containers.headers["Authorization"] == "Bearer token"
    assert "model-release" in containers.headers["User-Agent"]


def test_a_workspace_that_disappears_ends_the_run(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 1)
    workspace.azure_ml.misbehave(Fault(path="versions", status=404, body=NO_RESOURCE_GROUP))

    with pytest.raises(AzureMlError, match="the model versions of workspace Prod cannot be read"):
        workspace.versions()


def test_an_archived_version_is_read_by_its_name(workspace: LocalWorkspace) -> None:
    workspace.add("churn", 1, 2, tags={"stage": "test"})
    workspace.azure_ml.archive(ID, "churn", "1")

    read = AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()).model_version(WORKSPACE, "churn", "1")

    assert (read.model, read.version, read.created, read.tags) == ("churn", "1", START + HOUR, {"stage": "test"})
    assert workspace.azure_ml.requests[0].query == "api-version=2024-10-01"


@pytest.mark.parametrize(("model", "version"), [("churn", "9"), ("other", "1")])
def test_a_version_that_is_not_registered_is_none(workspace: LocalWorkspace, model: str, version: str) -> None:
    workspace.add("churn", 1)

    assert AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()).model_version(WORKSPACE, model, version) is None


@pytest.mark.parametrize("body", [None, NO_RESOURCE_GROUP, "<html>", {"error": {"code": None}}])
def test_a_version_of_a_workspace_that_does_not_exist_is_an_error(workspace: LocalWorkspace, body: Any) -> None:
    gone = Workspace.parse(f"{ID}-gone")
    if body:
        workspace.azure_ml.misbehave(Fault(status=404, body=body))

    with pytest.raises(AzureMlError, match=r"workspace Prod-gone cannot be read: .* 404") as caught:
        AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()).model_version(gone, "churn", "1")

    assert caught.value.fix == "correct the workspace's resource ID, or remove the workspace from AML_WORKSPACES"


@pytest.mark.parametrize(
    ("status", "pause", "retry_after"),
    [
        (429, "17", timedelta(seconds=17)),
        (503, "3600", timedelta(hours=1)),
        (429, "Thu, 01 Jan 2026 00:00:00 GMT", timedelta()),
        (503, "", None),
        (403, "", None),
        (500, "9" * 20, None),
    ],
)
def test_a_version_is_requested_once_and_the_pause_that_was_asked_for_is_reported(
    workspace: LocalWorkspace, status: int, pause: str, retry_after: timedelta | None
) -> None:
    workspace.azure_ml.misbehave(Fault(status=status, headers={"Retry-After": pause} if pause else {}))

    with pytest.raises(AzureMlError, match=f"answered {status}") as caught:
        AzureMl(CREDENTIAL, endpoint=workspace.url, pace=at_once()).model_version(WORKSPACE, "churn", "1")

    assert caught.value.retry_after == retry_after
    assert len(workspace.azure_ml.requests) == 1


@pytest.mark.parametrize(
    ("state", "ready"),
    [(None, True), ("", True), ("Succeeded", True), ("Creating", False), ("Failed", False), ("Canceled", False)],
)
def test_a_version_is_ready_if_it_succeeded_or_has_no_state(state: str | None, *, ready: bool) -> None:
    (listed,) = list_answers(CONTAINERS, version(properties={"provisioningState": state}))

    assert (listed.provisioning_state, listed.ready) == (state or "", ready)


@pytest.mark.parametrize("body", [[], {}, {"name": "1"}])
def test_a_version_that_is_not_as_documented_is_reported(body: Any) -> None:
    with Server(Answers([body])) as server, pytest.raises(AzureMlError, match="not as documented"):
        AzureMl(CREDENTIAL, endpoint=server.url, pace=at_once()).model_version(WORKSPACE, "churn", "1")

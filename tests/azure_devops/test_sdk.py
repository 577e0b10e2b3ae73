"""Sign-in, and the meaning of each answer: may a release have been created, and why not."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from local.azure_devops_faults import Fault
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.session import Connections, PatSignIn
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from tests.azure_devops import broken_servers as broken
from tests.azure_devops.plans import MARKER, PLAN, client, create, entra_sign_in, find_by_marker, release_plan
from tests.environment import BOTH, IN_MEMORY, Environment
from tests.tls import spoiling_tls

pytestmark = IN_MEMORY

UNREACHABLE = "Azure DevOps cannot be reached"
FAILED = "the request to Azure DevOps failed"
SIGN_IN = "https://spsprodcus5.vssps.visualstudio.com/_signin"


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (server, f"{prefix}: {reason}")
        for prefix, servers in {
            UNREACHABLE: [broken.REFUSED, broken.UNKNOWN_HOST, broken.NOT_ACCEPTING],
            FAILED: [broken.LATE, broken.RESET, broken.CLOSED, broken.CUT_OFF, broken.UNTRUSTED, broken.WITHOUT_TLS],
        }.items()
        for server, reason in servers
    ],
)
def test_a_failed_connection_is_reported_in_plain_words(
    server: broken.BrokenServer, problem: str, tmp_path: Path
) -> None:
    with server(tmp_path) as url, pytest.raises(TemporaryError) as caught:
        AzureDevOps(f"{url}/contoso", PatSignIn("x"), timeout=0.5).probe(release_plan().target)

    assert str(caught.value) == problem


def test_a_failed_connection_names_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with broken.refusing(tmp_path) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        azure_devops = AzureDevOps("http://azure.invalid/contoso", PatSignIn("x"), timeout=10)

        with pytest.raises(TemporaryError) as caught:
            azure_devops.probe(release_plan().target)

    assert caught.value.problem == f"{FAILED}: cannot connect to the proxy: connection refused"


POSTED = {
    "400": (Fault(status=400, body={"message": "VS402962: no"}), RefusedError, "VS402962: no"),
    "404 HTML": (Fault(status=404, body="<html>"), RefusedError, "Azure DevOps answered 404"),
    "409": (Fault(status=409, body={"message": "exists"}), RefusedError, "exists"),
    "429": (
        Fault(status=429, body={"message": "slow"}, headers={"Retry-After": "7"}),
        TemporaryError,
        "Azure DevOps is throttling requests (429): slow",
    ),
    "429 without words": (Fault(status=429), TemporaryError, "Azure DevOps is throttling requests (429)"),
    "203": (
        Fault(status=203, body="<html>"),
        RefusedError,
        "Azure DevOps does not accept the sign-in (status 203): it shows its sign-in page",
    ),
    **{
        str(status): (
            Fault(status=status, headers={"Location": f"{SIGN_IN}?realm=dev.azure.com&context=secret"}),
            RefusedError,
            f"Azure DevOps does not accept the sign-in (status {status}): it redirects to {SIGN_IN}",
        )
        for status in (301, 302, 303, 307, 308)
    },
    "302 to nowhere": (
        Fault(status=302),
        RefusedError,
        "Azure DevOps does not accept the sign-in (status 302)",
    ),
    "302 to an address that is none": (
        Fault(status=302, headers={"Location": "https://[x"}),
        RefusedError,
        "Azure DevOps does not accept the sign-in (status 302): it redirects to https://[x",
    ),
    "401": (
        Fault(status=401, body={"message": "TF400813"}),
        RefusedError,
        "Azure DevOps does not accept the sign-in (status 401): TF400813",
    ),
    "401 without words": (Fault(status=401), RefusedError, "Azure DevOps does not accept the sign-in (status 401)"),
    "401 with its reason in a header": (
        Fault(status=401, headers={"X-TFS-ServiceError": "Access+Denied%3A+The+token+has+expired."}),
        RefusedError,
        "Azure DevOps does not accept the sign-in (status 401): Access Denied: The token has expired.",
    ),
    **{
        f"500 {kind}": (Fault(status=500, body={"message": "no", "typeKey": kind}), RefusedError, "no")
        for kind in (
            "PipelineNotFoundException",
            "ReleaseDefinitionNotFoundException",
            "ProjectDoesNotExistWithNameException",
            "PipelineValidationException",
            "BuildRequestValidationFailedException",
            "ReleaseManagementAccessDeniedException",
            "UnauthorizedAccessException",
        )
    },
    "503 with a refusal": (
        Fault(status=503, body={"message": "no", "typeKey": "AccessDeniedException"}),
        RefusedError,
        "no",
    ),
    "500 of another type": (
        Fault(status=500, body={"message": "broken", "typeKey": "ReleaseManagementServiceException"}),
        UnknownOutcomeError,
        "Azure DevOps answered 500: broken",
    ),
    "500 without a type": (
        Fault(status=500, body={"message": "broken", "typeKey": None}),
        UnknownOutcomeError,
        "Azure DevOps answered 500: broken",
    ),
    "408": (Fault(status=408), UnknownOutcomeError, "Azure DevOps answered 408"),
    "500": (Fault(status=500, body={"message": "broken"}), UnknownOutcomeError, "Azure DevOps answered 500: broken"),
    "503": (Fault(status=503, headers={"Retry-After": "9"}), UnknownOutcomeError, "Azure DevOps answered 503"),
    "503 text": (
        Fault(status=503, body="No.", headers={"Content-Type": "text/plain"}),
        UnknownOutcomeError,
        "Azure DevOps answered 503: No.",
    ),
    "empty": (Fault(status=200), UnknownOutcomeError, "Azure DevOps answered 200: the answer cannot be read"),
    "null": (
        Fault(status=200, body="null", headers={"Content-Type": "application/json"}),
        UnknownOutcomeError,
        "Azure DevOps answered 200: the answer cannot be read",
    ),
    "half": (Fault(unparsable=True), UnknownOutcomeError, "Azure DevOps answered 200: the answer is not JSON"),
    "cut off": (
        Fault(truncate=True),
        UnknownOutcomeError,
        f"{FAILED}: connection closed before the end of the answer",
    ),
    "closed": (Fault(close="after"), UnknownOutcomeError, f"{FAILED}: connection closed before the answer"),
    "slow": (Fault(delay=1.2), UnknownOutcomeError, f"{FAILED}: no answer within 1 s"),
}


@BOTH
@pytest.mark.parametrize(("fault", "error", "problem"), POSTED.values(), ids=POSTED)
def test_an_answer_to_create_says_whether_a_release_may_exist(
    env: Environment, fault: Fault, error: type[AzureDevOpsError], problem: str
) -> None:
    env.azure_devops.misbehave(dataclasses.replace(fault, **env.requests.start))

    with pytest.raises(error) as caught:
        create(client(env, timeout=1 if fault.delay else 10), PLAN[env.target]())

    assert type(caught.value) is error
    assert caught.value.problem == problem
    pause = fault.headers.get("Retry-After")
    assert caught.value.retry_after == (timedelta(seconds=int(pause)) if pause else None)
    assert sum(request.method == "POST" for request in env.azure_devops.requests) == 1


@BOTH
@pytest.mark.parametrize(("fault", "error", "problem"), POSTED.values(), ids=POSTED)
def test_an_answer_to_find_never_means_that_a_release_may_exist(
    env: Environment, fault: Fault, error: type[AzureDevOpsError], problem: str
) -> None:
    env.azure_devops.misbehave(dataclasses.replace(fault, **env.requests.find))

    with pytest.raises((TemporaryError, RefusedError)) as caught:
        create(client(env, timeout=1 if fault.delay else 10), PLAN[env.target]())

    assert type(caught.value) is (TemporaryError if error is UnknownOutcomeError else error)
    assert caught.value.problem == problem


@BOTH
@pytest.mark.parametrize("name", ["429", "403", "500", "half", "cut off", "no ID"])
def test_a_failed_search_for_a_marker_never_means_that_there_is_nothing(env: Environment, name: str) -> None:
    found = {"description": MARKER, "templateParameters": {"modelReleaseMarker": MARKER}}
    more = {
        "403": (Fault(status=403, body={"message": "no"}), RefusedError, ""),
        "no ID": (Fault(status=200, body={"count": 1, "value": [found]}), TemporaryError, ""),
    }
    fault, error, _ = (POSTED | more)[name]
    azure_devops, plan = client(env), PLAN[env.target]()
    create(azure_devops, plan)
    env.azure_devops.misbehave(dataclasses.replace(fault, **env.requests.look))

    with pytest.raises((TemporaryError, RefusedError)) as caught:
        find_by_marker(azure_devops, plan, env.clock.now - timedelta(minutes=5))

    assert type(caught.value) is (TemporaryError if error is UnknownOutcomeError else error)


PAGES = {
    "release": "contoso/fraud%20%26%20co/_release?releaseId=5&_a=release-summary",
    "pipeline": "contoso/fraud%20%26%20co/_build/results?buildId=5",
}


@BOTH
@pytest.mark.parametrize("links", [{}, {"_links": None}, {"_links": {}}, {"_links": {"web": {}}}], ids=str)
def test_what_has_no_web_link_gets_an_address_of_its_page(env: Environment, links: dict[str, Any]) -> None:
    found = {"id": 5, "description": MARKER, "templateParameters": {"modelReleaseMarker": MARKER}, **links}
    env.azure_devops.misbehave(
        Fault(**env.requests.look, status=200, body={"count": 1, "value": [found]}),
        Fault(**env.requests.start, status=200, body=found),
    )
    azure_devops, plan = client(env), PLAN[env.target]()
    marked = azure_devops.find_by_marker(
        plan.target._replace(project="fraud & co"), 1, MARKER, env.clock.now, deadline=float("inf")
    )

    assert marked
    assert (marked.id, marked.url) == (5, f"{env.azure_devops_url}/{PAGES[env.target]}")
    assert create(azure_devops, plan).url == f"{env.azure_devops_url}/{PAGES[env.target]}".replace("%20%26%20co", "")


@BOTH
@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/contoso/x",
        "javascript:alert(1)",
        "//evil.example/",
        "{url}.evil.example/x",
        "{url}@evil.example/",
        "{url}/../evil/_release?releaseId=5",
        "{url}/%2e%2E/evil",
        "{url}/x\\y",
        "{url}/x\u202ey",
        "{url}evil/x",
        5,
    ],
)
def test_a_link_that_leaves_the_organization_is_replaced_by_the_address_of_the_page(
    env: Environment, link: object
) -> None:
    url = f"{env.azure_devops_url}/contoso"
    href = link.format(url=url) if isinstance(link, str) else link
    found = {"id": 5, "templateParameters": {"modelReleaseMarker": MARKER}, "_links": {"web": {"href": href}}}
    env.azure_devops.misbehave(Fault(**env.requests.start, status=200, body=found))

    assert create(client(env), PLAN[env.target]()).url == f"{env.azure_devops_url}/{PAGES[env.target]}".replace(
        "%20%26%20co", ""
    )


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        (Fault(status=401), "renew the token, or add the identity to the organization"),
        (
            Fault(status=302, headers={"Location": SIGN_IN}),
            "renew the token, or add the identity to the organization",
        ),
        (
            Fault(status=301, headers={"Location": "https://tfs.contoso.com/new"}),
            "correct AZURE_DEVOPS_URL, or renew the token",
        ),
        (Fault(status=404, body="<html>"), "check AZURE_DEVOPS_URL"),
        (Fault(status=403, body={"message": "Access denied."}), ""),
    ],
)
def test_a_refusal_of_azure_devops_has_a_fix_unless_its_words_contain_one(
    env: Environment, fault: Fault, fix: str
) -> None:
    env.azure_devops.misbehave(fault)

    with pytest.raises(RefusedError) as caught:
        client(env).probe(release_plan().target)

    assert caught.value.fix == fix


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        {
            "message": "Could not queue.",
            "customProperties": {"ValidationResults": [{"message": "a"}, {"message": "b"}]},
        },
        {"Message": "No.", "ClassName": "A.B", "ValidationResults": [{"message": "a"}, {"message": "b"}]},
        {"message": "a\nb"},
    ],
    ids=["custom properties", "top level", "lines"],
)
def test_every_recorded_shape_of_a_refusal_shows_all_faults(env: Environment, body: dict[str, Any]) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body=body))

    with pytest.raises(RefusedError, match=r"^a; b$"):
        create(env, PLAN[env.target]())


@pytest.mark.parametrize("pause", ["86400000", "9" * 40, "9" * 5000])
def test_a_retry_after_is_at_most_an_hour(env: Environment, pause: str) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, headers={"Retry-After": pause}))

    with pytest.raises(AzureDevOpsError) as caught:
        create(env, release_plan())

    assert caught.value.retry_after in (timedelta(hours=1), None)


def test_an_answer_that_tls_cannot_read_does_not_mean_that_nothing_was_created(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling_tls(env.azure_devops_url, tmp_path) as (url, certificate):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        behind = AzureDevOps(f"{url}/contoso", PatSignIn("a token"), timeout=10)

        with pytest.raises(UnknownOutcomeError, match=f"{FAILED}: TLS failure"):
            create(behind, release_plan())

        found = find_by_marker(behind, release_plan(), env.clock.now - timedelta(minutes=5))
    assert found
    assert found.name == "Release-1"


def test_the_longest_retry_after_of_several_answers_is_reported(env: Environment) -> None:
    reported: list[timedelta] = []
    env.azure_devops.misbehave(
        Fault(method="GET", path="/definitions/1", headers={"Retry-After": "7"}),
        Fault(method="GET", path="/definitions", headers={"Retry-After": "30"}),
    )

    create(client(env, throttled=reported.append), release_plan())

    assert reported == [timedelta(seconds=30)]


def test_a_failure_to_record_a_retry_after_is_not_reported_as_a_refusal(env: Environment) -> None:
    def fails(_pause: timedelta) -> None:
        raise ClientAuthenticationError("storage refuses the sign-in")

    env.azure_devops.misbehave(Fault(method="POST", path="/releases", headers={"Retry-After": "30"}))

    with pytest.raises(ClientAuthenticationError, match="storage refuses the sign-in"):
        create(client(env, throttled=fails), release_plan())

    assert len(env.azure_devops.releases) == 1


def test_every_request_has_a_token_that_is_valid_now(env: Environment) -> None:
    azure_devops = client(env, entra_sign_in(lambda _: SimpleNamespace(token=env.azure_devops._pat)))
    env.azure_devops._pat = "old"
    azure_devops.find(release_plan().target)

    env.azure_devops._pat = "new"

    assert create(azure_devops, release_plan()).name == "Release-1"


@pytest.mark.parametrize("error", [ServiceResponseError, ServiceRequestError])
def test_without_a_token_nothing_is_sent(env: Environment, error: type[AzureError]) -> None:
    def get_token(_scope: str) -> None:
        raise error("no identity is assigned\nAttempted: one")

    with pytest.raises(TemporaryError) as caught:
        create(client(env, entra_sign_in(get_token)), release_plan())

    assert caught.value.problem == "cannot get a token for Azure DevOps: no identity is assigned Attempted: one"
    assert env.azure_devops.requests == []


def test_a_token_service_that_cannot_be_reached_is_reported_in_plain_words(env: Environment) -> None:
    def get_token(_scope: str) -> None:
        cause = ServiceRequestError("<connection 1>", error=ConnectionRefusedError(111, "Connection refused"))
        raise ClientAuthenticationError("Authentication failed: <connection 1>") from cause

    with pytest.raises(TemporaryError) as caught:
        client(env, entra_sign_in(get_token)).probe(release_plan().target)

    assert caught.value.problem == "cannot get a token for Azure DevOps: connection refused"


def test_a_wrong_token_is_refused_with_a_fix(env: Environment) -> None:
    env.azure_devops._pat = "another"

    with pytest.raises(RefusedError) as caught:
        create(env, release_plan())

    assert caught.value.problem.startswith("Azure DevOps does not accept the sign-in (status ")
    assert caught.value.fix == "renew the token, or add the identity to the organization"


@pytest.mark.usefixtures("netrc")
def test_a_password_for_this_server_in_a_netrc_file_does_not_replace_the_sign_in(env: Environment) -> None:
    env.azure_devops._pat = "a token"
    sign_in = entra_sign_in(lambda _scope: SimpleNamespace(token="a token"))

    assert create(client(env, sign_in), release_plan()).name == "Release-1"


def test_requests_go_through_the_proxy_of_the_environment(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", env.azure_devops_url)
    behind = AzureDevOps("http://azure.invalid/contoso", PatSignIn("a token"), timeout=10)
    behind.probe(release_plan().target)
    # The environment is read once.
    monkeypatch.delenv("HTTP_PROXY")

    assert create(behind, release_plan()).name == "Release-1"


def test_the_addresses_that_are_not_asked_for_are_those_of_the_service(env: Environment) -> None:
    answer = requests.options(f"{env.azure_devops_url}/contoso/_apis", auth=("", "a token"))
    listed = {one["id"]: one for one in answer.json()["value"]}
    session = requests.Session()
    session.mount("https://", Connections(is_service=True))

    known = session.options("https://dev.azure.com/contoso/_apis").json()["value"]

    for one in known:
        versions = {"minVersion", "maxVersion", "releasedVersion"}
        assert {key: one[key] for key in one.keys() - versions} == {
            key: listed[one["id"]][key] for key in one.keys() - versions
        }
        assert (
            listed[one["id"]]["minVersion"] <= one["minVersion"] <= one["maxVersion"] <= listed[one["id"]]["maxVersion"]
        )


def test_azure_devops_server_is_asked_for_its_addresses(env: Environment) -> None:
    session = requests.Session()
    session.mount("http://", Connections(is_service=False))

    session.options(f"{env.azure_devops_url}/contoso/_apis", auth=("", "a token"))

    assert [one.method for one in env.azure_devops.requests] == ["OPTIONS"]

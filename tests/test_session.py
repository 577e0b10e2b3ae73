"""A credential is sent to its own server only, and no netrc file replaces it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from click.testing import CliRunner
from werkzeug.wrappers import Request, Response

from infra.hooks import postdeploy
from local.azure_devops_faults import Fault
from local.azure_devops_locations import RESOURCES
from local.serving import Server
from model_release.__main__ import main
from model_release.app import LazyCredential, build
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.session import EntraSignIn, PatSignIn
from model_release.azure_ml.models import AzureMl, AzureMlError
from model_release.domain.events import Workspace
from model_release.errors import ConfigurationError, RefusedError, TemporaryError
from model_release.flow.publish import Topic, TopicError
from model_release.session import CredentialSession, OtherServerError, no_token
from tests.azure_devops.plans import create, release_plan, run_plan
from tests.environment import EVENTS, WORKSPACE, Environment
from tests.in_memory import CREDENTIAL

OUR_WORKSPACE = Workspace.parse(WORKSPACE)
REDIRECTS = (301, 302, 303, 307, 308)
EVENT = str(EVENTS / "cloud-event.json")
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "type": "x", "source": "/x"}


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LazyCredential:
    """The sign-in of a person on a machine without any tool of Azure; no managed identity is searched for."""
    for name, value in {"PATH": str(tmp_path), "HOME": str(tmp_path), "AZURE_TOKEN_CREDENTIALS": "dev"}.items():
        monkeypatch.setenv(name, value)
    return LazyCredential("")


def test_without_a_sign_in_to_azure_the_error_says_what_to_do(nobody: LazyCredential) -> None:
    azure_devops = AzureDevOps("https://dev.azure.com/contoso", EntraSignIn(nobody), timeout=20)
    with pytest.raises(TemporaryError) as caught:
        azure_devops.find(release_plan().target)
    with pytest.raises(AzureMlError) as unread:
        AzureMl(nobody).model_version(OUR_WORKSPACE, "churn", "1")

    assert str(caught.value) == (
        "cannot get a token for Azure DevOps: no sign-in to Azure succeeded; on your machine, sign in with `az login` "
        "or set AZURE_DEVOPS_PAT; in Azure, check the app's identity"
    )
    assert unread.value.problem.endswith("cannot get a token for Azure Resource Manager: no sign-in to Azure succeeded")
    assert unread.value.fix == "on your machine, sign in with `az login`; in Azure, check the app's identity"


def test_the_words_of_the_sign_in_service_are_a_part_of_the_error() -> None:
    answer: Any = SimpleNamespace(status_code=401, reason="Unauthorized", headers={}, text=lambda: "")
    refused = no_token("Azure DevOps", ClientAuthenticationError("AADSTS700016:\nunknown application", answer))
    unavailable = no_token("Azure DevOps", CredentialUnavailableError("Azure CLI not found on path"))

    assert refused.problem == "cannot get a token for Azure DevOps: AADSTS700016: unknown application"
    assert unavailable.problem == "cannot get a token for Azure DevOps: no sign-in to Azure succeeded"
    assert refused.fix == unavailable.fix


@dataclass
class Elsewhere:
    """Another server, which must receive no request."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return Response("{}", mimetype="application/json")

    @property
    def host(self) -> str:
        return self.url.partition("//")[2]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    other = Elsewhere()
    with Server(other) as server:
        other.url = server.url
        yield other
    assert other.requests == []


@dataclass
class Redirecting:
    """Answers each request with a redirect to another server."""

    status: int
    location: str

    def __call__(self, _: Request) -> Response:
        return Response(status=self.status, headers={"Location": self.location})


@pytest.mark.parametrize("status", REDIRECTS)
def test_no_redirect_takes_a_credential_to_another_server(elsewhere: Elsewhere, status: int) -> None:
    with Server(Redirecting(status, f"{elsewhere.url}/x")) as server:
        with pytest.raises(AzureMlError):
            AzureMl(CREDENTIAL, endpoint=server.url).model_version(OUR_WORKSPACE, "churn", "1")
        with pytest.raises(TopicError):
            Topic(f"{server.url}/api/events", CREDENTIAL).send([CLOUD_EVENT])
        for command in (["send", EVENT], ["history"], ["show", "churn:1"]):
            done = CliRunner().invoke(main, [*command, "--url", server.url, "--key", "a-secret-key"])
            assert done.exit_code == 1
            assert "Traceback" not in done.output
        with pytest.raises(requests.RequestException):
            CredentialSession(server.url).get(server.url)
        assert postdeploy._health(server.url, "a-secret-key") == {
            "app": {"ok": False, "error": f"{server.url}/api/health answers {status}"}
        }


@pytest.mark.parametrize("plan", [release_plan, run_plan])
@pytest.mark.parametrize(
    "template",
    ["http://{host}/{{project}}", "http://{host}\\@own/x", "//{host}/x", "http://user@{host}", "http:{host}/x"],
)
def test_a_route_template_of_azure_devops_does_not_name_another_server(
    env: Environment, elsewhere: Elsewhere, template: str, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a server of the organization's own is asked for its templates, once; here it is behind a proxy.
    monkeypatch.setenv("HTTP_PROXY", env.azure_devops_url)
    behind = AzureDevOps(f"http://{uuid4().hex}.invalid/contoso", PatSignIn("a token"), timeout=10)
    template = template.format(host=elsewhere.host)
    shown = [{**resource.shown(), "routeTemplate": template} for resource in RESOURCES]
    env.azure_devops.misbehave(Fault(method="OPTIONS", status=200, body={"count": len(shown), "value": shown}))

    with pytest.raises(RefusedError):
        create(behind, plan())

    assert "OPTIONS" in {one.method for one in env.azure_devops.requests}
    assert env.started == []


def test_a_session_refuses_every_form_of_another_address(elsewhere: Elsewhere) -> None:
    with Server(lambda _: Response()) as server:
        session, own = CredentialSession(server.url), server.url.partition("//")[2]

        assert session.get(f"{server.url}/x").status_code == 200
        for address in (
            elsewhere.url,
            f"http://{elsewhere.host}\\@{own}/x",
            f"http://{own}@{elsewhere.host}/x",
            f"http://{own}%2f@{elsewhere.host}/x",
            f"http://{elsewhere.host}#{own}",
            f"https://{own}/x",
            server.url.replace("127.0.0.1", "localhost"),
        ):
            with pytest.raises(OtherServerError):
                session.get(address, headers={"Authorization": "Bearer x"})


def test_an_address_with_letters_beyond_ascii_is_its_own_server() -> None:
    session = CredentialSession("https://tfs.bücher.invalid:443/Collection")

    with pytest.raises(requests.ConnectionError):
        session.get("https://TFS.bücher.invalid/Collection/_apis", timeout=1)
    with pytest.raises(OtherServerError):
        session.get("https://tfs.bucher.invalid/")


@pytest.mark.parametrize("url", ["http://app.example", "HTTP://127.0.0.1.example", "http://localhost.example:7071"])
@pytest.mark.parametrize("command", [["send", EVENT], ["history"], ["show", "churn:1"], ["start", "churn:1", "--yes"]])
def test_a_key_is_not_sent_without_encryption_to_another_machine(command: list[str], url: str) -> None:
    done = CliRunner().invoke(main, [*command, "--url", url, "--key", "a-secret-key"])

    assert done.exit_code == 1
    assert "would receive the key without encryption; write https://" in done.output


def test_a_connection_string_without_encryption_is_a_fault(env: Environment) -> None:
    settings = env.settings(
        AzureWebJobsStorage="DefaultEndpointsProtocol=http;AccountName=contoso;AccountKey=a2V5;EndpointSuffix=core.x"
    )

    with pytest.raises(ConfigurationError, match="begin with https://"):
        build(settings)


@pytest.mark.usefixtures("netrc")
def test_no_netrc_file_replaces_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, str | None]] = []

    def answer(request: Request) -> Response:
        received.append((request.path, request.headers.get("Authorization")))
        if request.path == "/msi/token":
            token = '{"access_token": "ours", "expires_on": 4102444800, "resource": "x", "token_type": "Bearer"}'
            return Response(token, mimetype="application/json")
        return Response(status=404)

    with Server(answer) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        credential = LazyCredential("")
        with pytest.raises(AzureMlError):
            AzureMl(credential, endpoint=server.url).model_version(OUR_WORKSPACE, "churn", "1")
        with pytest.raises(TopicError):
            Topic(f"{server.url}/api/events", credential).send([CLOUD_EVENT])
        for command in (["send", EVENT], ["history"]):
            CliRunner().invoke(main, [*command, "--url", server.url, "--key", "a-secret-key"])

    assert {path for path, _ in received} > {"/msi/token", "/api/events", "/api/releases"}
    assert {sent for _, sent in received} == {None, "Bearer ours"}


def test_a_proxy_of_the_environment_does_not_see_what_is_sent_to_this_machine(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
    with Server(lambda _: Response(status=202)) as server:
        done = CliRunner().invoke(main, ["send", EVENT, "--url", server.url, "--key", "a-key"])

    assert done.exit_code == 0, done.output

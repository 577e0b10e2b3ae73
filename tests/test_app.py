"""The whole app through the local host, as Event Grid calls it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import azure.functions as func
import pytest
import requests

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.app import HOME
from model_release.domain.claims import State
from tests.environment import (
    BOTH,
    EVENTS,
    IN_AZURITE,
    IN_MEMORY,
    WORKSPACE,
    Environment,
    Size,
    event,
    sample_event,
)
from tests.functions_runtime import FunctionsRuntime
from tests.host_process import HostProcess

pytestmark = IN_MEMORY

NOTIFICATION = {"aeg-event-type": "Notification"}
WEBHOOK = "/runtime/webhooks/EventGrid?functionName=model_registered"


@contextmanager
def served(app: func.FunctionApp) -> Iterator[str]:
    host = FunctionsHost(app)
    with host, Server(host) as server:
        yield server.url


@pytest.fixture
def host(env: Environment) -> Iterator[str]:
    with served(env.function_app()) as url:
        yield url


def deliver(host: str, body: str) -> int:
    return requests.post(host + WEBHOOK, data=body.encode(), headers=NOTIFICATION).status_code


@pytest.mark.usefixtures("netrc")
def test_a_password_of_a_netrc_file_does_not_replace_the_sign_in(env: Environment) -> None:
    env.azure_devops._pat = "a token"

    (entry,) = env.start().start_release.registered(event())

    assert entry.state is State.STARTED


@pytest.mark.parametrize("name", [path.name for path in EVENTS.glob("*.json")])
def test_each_sample_event_starts_one_release_with_its_version(env: Environment, tmp_path: Path, name: str) -> None:
    model, version = sample_event(name)["subject"].removeprefix("models/").split(":")
    env.azure_devops.add_definition("growth", "Any", model_artifacts={"_it": model}, variables={"ModelVersion": ""})
    env.azure_devops.add_model_version(model, "0")
    release_map = tmp_path / "map.yaml"
    release_map.write_text("{version: 1, routes: [{model: '*', release: {project: growth, definition: Any}}]}")
    env.restart(RELEASE_MAP=str(release_map))

    with served(env.function_app()) as host:
        assert deliver(host, (EVENTS / name).read_text()) == 202

    (release,) = env.azure_devops.releases
    assert release["artifacts"][0]["definitionReference"]["version"]["name"] == version
    assert release["variables"]["ModelVersion"]["value"] == version


@pytest.mark.parametrize(
    ("body", "status", "recorded"),
    [
        (event().replace("workspaces/prod", "workspaces/dev"), 202, 1),
        (event().replace("ModelRegistered", "ModelDeployed"), 202, 1),
        (event(model="<script>alert(1)</script>"), 202, 1),
        ('{"not": "an event"}', 202, 1),
        ("not JSON", 500, 0),
    ],
)
def test_an_event_that_starts_nothing_is_answered_as_by_the_real_host(
    env: Environment, host: str, body: str, status: int, recorded: int
) -> None:
    assert deliver(host, body) == status

    assert env.azure_devops.releases == []
    assert [entry.state for entry in env.history] == [State.IGNORED] * recorded
    assert all(entry.reason for entry in env.history)


@IN_AZURITE
def test_a_delivery_fails_while_storage_is_down_and_succeeds_afterwards(env: Environment, host: str) -> None:
    env.storage.down = True
    assert deliver(host, event()) == 500
    assert env.azure_devops.releases == []

    env.storage.down = False
    assert deliver(host, event()) == 202
    assert env.versions == ["20"]


@IN_AZURITE
def test_deliveries_16_at_a_time_to_two_host_processes_start_one_release(env: Environment, size: Size) -> None:
    count = size(16, 50)
    with HostProcess(env.settings()) as first, HostProcess(env.settings()) as second:
        hosts = [first.url, second.url]

        def until_acknowledged(number: int) -> int:
            for _ in range(200):
                status = deliver(hosts[number % 2], event())
                if status == 202:
                    break
            return status

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(until_acknowledged, range(count)))

    assert statuses == [202] * count
    assert env.versions == ["20"]


@BOTH
def test_the_sweep_starts_a_release_that_waits(env: Environment, host: str) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    deliver(host, event())
    env.clock.advance(minutes=1)

    assert requests.post(f"{host}/admin/functions/unfinished_releases", json={}).status_code == 202

    assert env.versions == ["20"]


def test_the_catch_up_signs_in_with_the_identity_and_starts_what_no_event_started(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure_ml = AzureMl([WORKSPACE])
    with Server(azure_ml) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        services = env.start(AZURE_RESOURCE_MANAGER_URL=azure.url, AZURE_DEVOPS_PAT="")
        with served(env.function_app(services)) as host:
            for _ in range(2):
                assert requests.post(f"{host}/admin/functions/missed_models", json={}).status_code == 202
                env.clock.advance(minutes=30)
                azure_ml.add_version(WORKSPACE, "sklearn_regression_model", "20", created=env.clock())
                env.clock.advance(minutes=30)

    assert env.versions == ["20"]


@IN_AZURITE
def test_the_host_accepts_the_events_of_the_http_file_in_the_documentation(env: Environment, host: str) -> None:
    requests_in_file = (HOME / "docs/try.http").read_text().split("###")[1:]
    for text in requests_in_file[:2]:
        body = text.partition("\n\n")[2]
        assert deliver(host, json.dumps(json.loads(body))) == 202

    assert env.versions == ["20", "21"]


@IN_AZURITE
def test_microsofts_own_worker_indexes_the_app_and_starts_releases_from_both_schemas(env: Environment) -> None:
    pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")

    app = FunctionsRuntime(HOME, env.settings())

    assert {name: function.trigger for name, function in app.functions.items()} == {
        "health": "httpTrigger",
        "missed_models": "timerTrigger",
        "model_registered": "eventGridTrigger",
        "model_version": "httpTrigger",
        "pins": "httpTrigger",
        "releases": "httpTrigger",
        "targets": "httpTrigger",
        "unfinished_releases": "timerTrigger",
    }
    assert app.invoke("model_registered", event(version=20)).ok
    assert app.invoke("model_registered", json.dumps(sample_event("cloud-event.json"))).ok
    assert app.invoke("model_registered", "{}").ok
    assert app.invoke("unfinished_releases").ok
    assert env.versions == ["20", "21"]
    env.storage.down = True
    assert not app.invoke("model_registered", event(version=22)).ok

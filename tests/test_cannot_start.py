"""The app while a setting or the release map is wrong: its functions report every fault and start nothing."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from infra.hooks.postdeploy import FUNCTIONS
from local.functions_host import FunctionsHost
from local.program import functions_host
from local.serving import Server
from model_release.app import HOME, build, build_or_report
from model_release.errors import ConfigurationError
from tests.environment import IN_AZURITE, IN_MEMORY, Environment, event
from tests.functions_runtime import FunctionsRuntime
from tests.web.test_api import KEY, Api

pytestmark = IN_MEMORY

WEBHOOK = "runtime/webhooks/EventGrid?functionName=model_registered"
NOTIFICATION = {"aeg-event-type": "Notification"}
WRONG = {"AML_WORKSPACES": "", "AZURE_DEVOPS_URL": "http://example.com"}
FAULTS = (
    "AML_WORKSPACES: missing; set it to the resource IDs of your Azure ML workspaces, comma separated",
    "AZURE_DEVOPS_URL: 'http://example.com' does not begin with https://",
    "map.yaml: version: ",
    "map.yaml: routes[0].modle: unknown key",
)


@pytest.fixture
def wrong(tmp_path: Path) -> dict[str, str]:
    """Return settings with a missing one, a wrong address and a wrong map."""
    release_map = tmp_path / "map.yaml"
    release_map.write_text("{version: 2, routes: [{model: a, modle: a, release: {project: p, definition: d}}]}")
    return WRONG | {"RELEASE_MAP": str(release_map)}


@contextmanager
def served(env: Environment, **changes: str) -> Iterator[Api]:
    app = env.function_app(build_or_report(env.settings(**changes)))
    host = FunctionsHost(app, key=KEY)
    with host, Server(host) as server:
        yield Api(server.url)


def root(api: Api) -> str:
    return api.url.removesuffix("/api/")


def deliver(api: Api, version: int = 20) -> int:
    headers = NOTIFICATION | {"x-functions-key": KEY}
    return requests.post(f"{root(api)}/{WEBHOOK}", data=event(version=version).encode(), headers=headers).status_code


def run(api: Api, name: str) -> None:
    headers = {"x-functions-key": KEY}
    assert requests.post(f"{root(api)}/admin/functions/{name}", json={}, headers=headers).status_code == 202


@IN_AZURITE
def test_an_event_is_kept_while_the_app_cannot_start_and_released_after_the_fault_is_fixed(
    env: Environment, wrong: dict[str, str]
) -> None:
    with served(env, **wrong) as api:
        assert deliver(api) == 500
        for timer in ("unfinished_releases", "missed_models"):
            run(api, timer)

    assert env.azure_devops.releases == []
    assert env.history == []

    with served(env) as api:
        assert deliver(api) == 202
    assert env.versions == ["20"]


def test_health_and_page_show_every_fault_and_its_fix(env: Environment, wrong: dict[str, str]) -> None:
    with served(env, **wrong) as api:
        health = api.send("health")
        answers = [api.send("releases"), api.send("releases/a/1"), api.send("releases/a/1", "POST", json={})]
        page = api.page("releases")

    assert [answer.status_code for answer in (health, page.answer, *answers)] == [503] * 5
    assert health.json()["healthy"] is False
    shown = {f"{fault['where']}: {fault['problem']}" for fault in health.json()["faults"]}
    for fault in FAULTS:
        assert any(f"{text}".startswith(fault.partition(";")[0]) for text in shown), fault
        assert all(fault in answer.json()["error"] for answer in answers)
    for fault in health.json()["faults"]:
        assert {fault["where"], fault["problem"]} <= set(page.texts)
        assert not fault["fix"] or fault["fix"] in page.texts
    assert "azd provision" in page.texts


@pytest.mark.parametrize("timer", ["unfinished_releases", "missed_models"])
def test_a_timer_logs_one_line_with_every_fault(
    env: Environment, wrong: dict[str, str], timer: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(env, **wrong) as api:
        caplog.clear()
        run(api, timer)

    (line,) = [record for record in caplog.records if record.name == "model_release.log"]
    assert line.levelno == logging.ERROR
    logged = json.loads(line.getMessage())
    assert logged["event"] == "cannot_start"
    for fault in FAULTS:
        assert any(text.startswith(fault) for text in logged["faults"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the file cannot be read"),
        (b"\xff\xfe\x00", "the file is not text in UTF-8; save it in UTF-8"),
        (b"[", "while parsing"),
        (b"", "valid"),
    ],
)
def test_a_map_that_cannot_be_read_is_reported(
    env: Environment, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    release_map = tmp_path / "map.yaml"
    release_map.mkdir() if content is None else release_map.write_bytes(content)

    with served(env, RELEASE_MAP=str(release_map)) as api:
        assert problem in api.send("releases").json()["error"]


@pytest.mark.parametrize(
    "setting",
    [
        {"AzureWebJobsStorage": "AccountName=;AccountKey="},
        {"AzureWebJobsStorage": "AccountKey;AccountName"},
        {"AzureWebJobsStorage": "AccountName=x;AccountName=y;AccountKey=YQ=="},
        {"AzureWebJobsStorage": "AccountName=x;AccountKey=not base64"},
        {"AzureWebJobsStorage": "AccountName=x;AccountKey=YQ==;TableEndpoint=nowhere"},
        {"AzureWebJobsStorage": "", "AzureWebJobsStorage__accountName": "/tmp"},
        {"AzureWebJobsStorage": "", "AzureWebJobsStorage__tableServiceUri": "https://[::1"},
        {"AzureWebJobsStorage": "", "AzureWebJobsStorage__tableServiceUri": "http://"},
        {"OUTCOME_TOPIC_ENDPOINT": "https://[::1"},
        {"AZURE_RESOURCE_MANAGER_URL": "management.azure.com"},
        {"CLAIM_LEASE_SECONDS": "1e3"},
        {"AZURE_DEVOPS_URL": "https://dev.azure.com:port/contoso"},
    ],
)
def test_no_value_of_a_setting_keeps_the_app_from_loading(env: Environment, setting: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(env.settings(**setting))

    (fault,) = caught.value.faults
    assert fault.where in setting


def test_the_local_host_serves_every_function_and_prints_every_fault(
    env: Environment, wrong: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as file, functions_host(env.settings(**wrong), log=file) as host:
        assert requests.get(f"{host.url}/api/health").status_code == 503

    for fault in FAULTS:
        assert fault in log.read_text()


def test_the_demo_prints_every_fault(wrong: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local.demo"],
        env=os.environ | {"RELEASE_MAP": wrong["RELEASE_MAP"]},
        capture_output=True,
        text=True,
        cwd=HOME,
        check=False,
    )

    assert done.returncode == 1
    assert "routes[0].modle: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_microsofts_own_worker_indexes_every_function_and_fails_the_event(
    env: Environment, wrong: dict[str, str]
) -> None:
    pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")

    app = FunctionsRuntime(HOME, env.settings(**wrong))

    assert app.functions.keys() == FUNCTIONS
    assert not app.invoke("model_registered", event()).ok
    assert app.invoke("unfinished_releases").ok


class Broken(dict):
    def get(self, *_: object) -> str:
        raise OSError("a fault of the platform")


def test_an_app_that_fails_to_load_for_another_reason_still_fails() -> None:
    with pytest.raises(OSError, match="a fault of the platform"):
        build_or_report(Broken())

"""A token and keys appear in no log, answer, row or event, whatever fails."""

import base64
import json
import logging
import traceback
from types import SimpleNamespace
from typing import Any, cast

import azure.functions as func
import pytest
import requests
from azure.core.exceptions import ServiceRequestError

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.event_grid_topic import EventGridTopic
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.app import HOME, build
from model_release.errors import ConfigurationError
from model_release.log import HiddenTextError
from tests.environment import Environment, event
from tests.test_app import NOTIFICATION, WEBHOOK
from triggers import health, missed_models, model_registered, unfinished_releases

PAT = "planted-personal-access-token"
FUNCTION_KEY = "planted-function-key"
TOPIC_KEY = "planted-topic-key"
SECRETS = [PAT, base64.b64encode(f":{PAT}".encode()).decode(), FUNCTION_KEY, TOPIC_KEY]
PAGES = ("releases?ignored=yes", "releases/sklearn_regression_model/20", "releases/none/1", "health")


def test_secrets_appear_in_no_log_answer_row_or_event(
    env: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = EventGridTopic(key=TOPIC_KEY)
    with Server(topic) as topic_server, Server(AzureMl([])) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        changes = {"OUTCOME_TOPIC_ENDPOINT": f"{topic_server.url}/api/events", "AZURE_RESOURCE_MANAGER_URL": azure.url}
        env.restart(AZURE_DEVOPS_PAT=PAT, **changes)
        for library in ("azure.core", "azure.identity"):
            caplog.set_level(logging.DEBUG, library)
        host = FunctionsHost(env.function_app(), key=FUNCTION_KEY)
        with host, Server(host) as server:
            answers = answers_while_everything_fails(env, topic, server.url)

    found = {
        "logs": caplog.text,
        "answers": "\n".join(answers),
        "rows": str([dict(row) for row in env.table.list_entities()]),
        "events": json.dumps(topic.events),
    }
    assert {place: secret for place, text in found.items() for secret in SECRETS if secret in text} == {}
    assert all(found.values())
    assert "azure.core" in caplog.text
    assert "urllib3.connectionpool" in caplog.text


def answers_while_everything_fails(env: Environment, topic: EventGridTopic, url: str) -> list[str]:
    """Return the answers to deliveries, timers and pages, while Azure DevOps, storage and the topic fail."""
    session = requests.Session()
    session.headers["x-functions-key"] = FUNCTION_KEY
    answers = []

    def send(method: str, path: str, **options: object) -> None:
        answer = session.request(method, url + path, **options)
        answers.append(f"{answer.headers}\n{answer.text}")

    def deliver(version: int, **fault: object) -> None:
        env.azure_devops.misbehave(Fault(path="/release", times=1, **fault))
        send("POST", WEBHOOK, data=event(version=version), headers=NOTIFICATION)
        env.clock.advance(minutes=4)

    topic.misbehave(Fault(status=401, times=1))
    for version, fault in enumerate(({"status": 401}, {"status": 203}, {"status": 500}, {"close": "before"}), 20):
        deliver(version, **fault)
        send("POST", "/admin/functions/unfinished_releases", json={})
    env.storage.down = True
    deliver(30)
    for page in PAGES:
        send("GET", f"/api/{page}")
    env.storage.down = False
    env.clock.advance(hours=1)
    for timer in ("unfinished_releases", "missed_models", "unfinished_releases"):
        send("POST", f"/admin/functions/{timer}", json={})
    for page in PAGES:
        for accept in ("text/html", "application/json"):
            send("GET", f"/api/{page}", headers={"Accept": accept})
    return answers


class Failing:
    """A collaborator that fails as azure-core does if storage with a shared access signature cannot be reached."""

    def run(self, *_: object) -> None:
        raise ServiceRequestError(f"Max retries exceeded with url: /table?sv=2026&sig={PAT} \x1b[2J")

    registered = check = run


def test_what_a_function_raises_has_no_secret_because_the_host_logs_it() -> None:
    app, failing = func.FunctionApp(), cast("Any", Failing())
    model_registered.add_to(app, failing)
    unfinished_releases.add_to(app, failing)
    missed_models.add_to(app, failing, "0 */5 * * * *")
    health.add_to(app, failing)
    context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=""))
    arguments = {"model_registered": ("event", context)}

    for function in app.get_functions():
        with pytest.raises(HiddenTextError) as caught:
            function.get_user_function()(*arguments.get(function.get_function_name(), (None,)))
        text = str(caught.value)
        assert text.startswith("ServiceRequestError: Max retries exceeded with url: /table?sv=2026&sig=[hidden]")
        assert "\x1b" not in text
        assert "planted" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_DEVOPS_URL", f"https://me:{PAT}@dev.azure.com/contoso"),
        ("AZURE_DEVOPS_URL", f"me:{PAT}@dev.azure.com/contoso"),
        ("OUTCOME_TOPIC_ENDPOINT", f"https://t.westeurope-1.eventgrid.azure.net/api/events?aeg-sas-key={TOPIC_KEY}"),
        ("AZURE_RESOURCE_MANAGER_URL", f"https://management.azure.com/?code={FUNCTION_KEY}"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(name: str, value: str) -> None:
    sample = json.loads((HOME / "local.settings.sample.json").read_text())["Values"]

    with pytest.raises(ConfigurationError) as caught:
        build(sample | {name: value})

    (fault,) = caught.value.faults
    assert str(fault) == f"{name}: the address has a user, a password, a query or a fragment; remove it"
    assert "planted" not in str(caught.value)

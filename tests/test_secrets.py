"""A token and keys are planted, everything goes wrong, and nobody finds them anywhere."""

import base64
import json
import logging
from dataclasses import replace

import pytest
import requests

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.event_grid_topic import EventGridTopic
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release import app as wiring
from model_release.errors import ConfigurationError
from tests.environment import World, event
from tests.test_app import NOTIFICATION, WEBHOOK

PAT = "planted-personal-access-token"
FUNCTION_KEY = "planted-function-key"
TOPIC_KEY = "planted-topic-key"
SECRETS = [PAT, base64.b64encode(f":{PAT}".encode()).decode(), FUNCTION_KEY, TOPIC_KEY]
PAGES = ("releases?ignored=yes", "releases/sklearn_regression_model/20", "releases/none/1", "health")


def test_planted_secrets_are_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = EventGridTopic(key=TOPIC_KEY)
    with Server(topic) as topic_server, Server(AzureMl([])) as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "local")
        changes = {"OUTCOME_TOPIC_ENDPOINT": f"{topic_server.url}/api/events", "AZURE_RESOURCE_MANAGER_URL": azure.url}
        world.app = world.start(AZURE_DEVOPS_PAT=PAT, **changes)
        built = replace(world.build(AZURE_DEVOPS_PAT=PAT, **changes), start_release=world.app)
        for library in ("azure.core", "azure.identity"):
            caplog.set_level(logging.DEBUG, library)
        host = FunctionsHost(world.function_app(built), key=FUNCTION_KEY)
        with host, Server(host) as server:
            answers = go_through_trouble(world, topic, server.url)

    found = {
        "logs": caplog.text,
        "answers": "\n".join(answers),
        "ledger": str([dict(row) for row in world.app.ledger._table.client.list_entities()]),
        "events": json.dumps(topic.events),
    }
    assert {place: secret for place, text in found.items() for secret in SECRETS if secret in text} == {}
    assert all(found.values())
    assert "azure.core" in caplog.text
    assert "urllib3.connectionpool" in caplog.text


def go_through_trouble(world: World, topic: EventGridTopic, url: str) -> list[str]:
    """Deliver, sweep, catch up and look, while Azure DevOps, storage and the topic fail; what was answered."""
    session = requests.Session()
    session.headers["x-functions-key"] = FUNCTION_KEY
    answers = []

    def ask(method: str, path: str, **options: object) -> None:
        answer = session.request(method, url + path, **options)
        answers.append(f"{answer.headers}\n{answer.text}")

    def deliver(version: int, **fault: object) -> None:
        world.azure_devops.misbehave(Fault(path="/release", times=1, **fault))
        ask("POST", WEBHOOK, data=event(version=version), headers=NOTIFICATION)
        world.clock.advance(minutes=4)

    topic.misbehave(Fault(status=401, times=1))
    for version, fault in enumerate(({"status": 401}, {"status": 203}, {"status": 500}, {"close": "before"}), 20):
        deliver(version, **fault)
        ask("POST", "/admin/functions/unfinished_releases", json={})
    world.storage.down = True
    deliver(30)
    for page in PAGES:
        ask("GET", f"/api/{page}")
    world.storage.down = False
    world.clock.advance(hours=1)
    for timer in ("unfinished_releases", "missed_models", "unfinished_releases"):
        ask("POST", f"/admin/functions/{timer}", json={})
    for page in PAGES:
        for accept in ("text/html", "application/json"):
            ask("GET", f"/api/{page}", headers={"Accept": accept})
    return answers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_DEVOPS_URL", f"https://me:{PAT}@dev.azure.com/contoso"),
        ("AZURE_DEVOPS_URL", f"me:{PAT}@dev.azure.com/contoso"),
        ("OUTCOME_TOPIC_ENDPOINT", f"https://t.westeurope-1.eventgrid.azure.net/api/events?aeg-sas-key={TOPIC_KEY}"),
        ("AZURE_RESOURCE_MANAGER_URL", f"https://management.azure.com/?code={FUNCTION_KEY}"),
    ],
)
def test_a_secret_in_a_setting_where_none_belongs_is_refused_and_not_repeated(name: str, value: str) -> None:
    sample = json.loads((wiring.HOME / "local.settings.sample.json").read_text())["Values"]

    with pytest.raises(ConfigurationError) as caught:
        wiring.build(sample | {name: value})

    (fault,) = caught.value.faults
    assert fault.startswith(f"{name} is an address with a user, a password")
    assert "planted" not in fault

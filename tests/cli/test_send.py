"""`send` delivers events to the app as Event Grid does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from local.azure_devops_faults import Fault
from local.functions_host import FunctionsHost
from local.functions_keys import Keys
from local.serving import Server
from model_release.__main__ import main
from model_release.domain.events import Workspace
from tests.environment import EVENTS, IN_AZURITE, IN_MEMORY, WORKSPACE, Environment, register

pytestmark = IN_MEMORY


@pytest.fixture
def url(env: Environment) -> Iterator[str]:
    host = FunctionsHost(env.function_app(), key=Keys(system="secret", host="secret"))
    with host, Server(host) as server:
        yield server.url


def run(url: str, *arguments: str, key: str = "secret", **environment: str) -> Result:
    keys = {"EVENT_GRID_KEY": key, "MODEL_RELEASE_KEY": key}
    return CliRunner(env=keys | environment).invoke(main, ["send", *arguments, "--url", url])


def test_a_dead_letter_is_processed_like_any_event(env: Environment, url: str) -> None:
    file = str(EVENTS / "dead-letter.json")

    for _ in range(2):
        done = run(url, file)
        assert (done.exit_code, done.output) == (0, "fraud_model:4  202  ignored: tag stage is missing\n")

    assert {(entry.subject, entry.reason) for entry in env.history} == {
        ("models/fraud_model:4", "tag stage is missing")
    }


@IN_AZURITE
def test_all_sample_events_are_sent_at_once(env: Environment, url: str) -> None:
    files = [str(path) for path in sorted(EVENTS.glob("*.json"))]

    done = CliRunner(env={"EVENT_GRID_KEY": "secret", "MODEL_RELEASE_URL": url}).invoke(main, ["send", *files])

    assert done.exit_code == 0
    # Files are sent in the order of their names, so version 20 is sent after 21.
    assert sorted(env.versions) == ["21", "3"]


def test_a_wrong_key_fails(url: str) -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", url, "--key", "wrong"])

    assert done.exit_code == 1
    assert "401" in done.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "is not JSON: line 1, column 1"),
        ("[1]", "is neither an event nor an array of events"),
        ("[]", "is neither an event nor an array of events"),
        ('{"deadLetter": {"eventType": "x"}}', "object 1 has neither `eventType` nor `type`, so it is not an event"),
    ],
)
def test_a_file_without_events_is_a_usage_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "events.json").write_text(text)

    done = CliRunner().invoke(main, ["send", str(tmp_path / "events.json")])

    assert done.exit_code == 2
    assert message in done.output


def test_an_unreachable_app_is_an_error() -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", "http://127.0.0.1:9"])

    assert done.exit_code == 1
    assert "Error: http://127.0.0.1:9 cannot be reached: connection refused. Is the app running?" in done.output


def test_json_has_the_answers(url: str) -> None:
    file = str(EVENTS / "cloud-event.json")

    done = CliRunner().invoke(main, ["send", file, "--url", url, "--key", "secret", "--json"])

    (sent,) = json.loads(done.stdout)
    assert (sent["subject"], sent["status"], sent["answer"]) == ("models/sklearn_regression_model:21", 202, "")
    assert (sent["entries"], sent["problem"][:6]) == (None, "http:/")


def test_a_model_version_is_sent_without_a_file(env: Environment, url: str) -> None:
    done = run(url, "sklearn_regression_model:20", AML_WORKSPACES=WORKSPACE)

    assert done.output.startswith("sklearn_regression_model:20  202  started at fraud/1: route")
    assert env.versions == ["20"]
    assert run(url, "sklearn_regression_model", AML_WORKSPACES=WORKSPACE).exit_code == 2
    wrong = run(url, "sklearn_regression_model:20", "--workspace", "test", AML_WORKSPACES=WORKSPACE)
    assert (wrong.exit_code, "which has: prod" in wrong.output) == (2, True)


def test_the_state_of_an_event_is_that_of_its_claim_and_not_of_a_restart(env: Environment, url: str) -> None:
    register(env, 20)
    (claim,) = env.claims.recorded(Workspace.parse(WORKSPACE), "sklearn_regression_model", "20")["20"].claims
    env.azure_devops.misbehave(Fault(method="POST", path="/releases", status=403, times=1))
    env.app.start_release.restart(claim, "a-key-of-a-person")

    done = run(url, "sklearn_regression_model:20", AML_WORKSPACES=WORKSPACE)

    assert "20  202  started at fraud/1: route" in done.output

"""The command in a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from local.functions_host import FunctionsHost
from local.serving import Server
from model_release.__main__ import main
from tests.world import EVENTS, World


@pytest.fixture
def url(world: World) -> Iterator[str]:
    host = FunctionsHost(world.function_app(), key="secret")
    with host, Server(host) as server:
        yield server.url


def test_a_dead_letter_goes_the_way_of_an_event_once(world: World, url: str) -> None:
    file = str(EVENTS / "dead-letter.json")

    for _ in range(2):
        done = CliRunner().invoke(main, ["send", file, "--url", url, "--key", "secret"])
        assert (done.exit_code, done.output) == (0, "models/fraud_model:4  202\n")

    assert [line.subject for line in world.history] == ["models/fraud_model:4"] * len(world.history)
    assert world.history[0].reason == "tag stage is missing"


def test_every_sample_can_be_sent_at_once(world: World, url: str) -> None:
    files = [str(path) for path in sorted(EVENTS.glob("*.json"))]

    done = CliRunner(env={"EVENT_GRID_KEY": "secret"}).invoke(main, ["send", *files, "--url", url])

    assert done.exit_code == 0
    # The files go in the order of their names, and version 20 comes after 21.
    assert sorted(world.versions) == ["21", "3"]


def test_a_wrong_key_is_told(url: str) -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", url, "--key", "wrong"])

    assert done.exit_code == 1
    assert "401" in done.output


@pytest.mark.parametrize(("text", "told"), [("no JSON", "is not JSON"), ("[1]", "does not hold events")])
def test_a_file_without_events_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "events.json").write_text(text)

    done = CliRunner().invoke(main, ["send", str(tmp_path / "events.json")])

    assert done.exit_code == 2
    assert told in done.output


def test_an_app_that_is_not_there_is_told() -> None:
    done = CliRunner().invoke(main, ["send", str(EVENTS / "cloud-event.json"), "--url", "http://127.0.0.1:9"])

    assert done.exit_code == 1
    assert "does not answer" in done.output

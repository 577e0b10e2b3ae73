"""A process that remembers nothing asks while the claim is written, and only for what may start something."""

import threading
from datetime import timedelta

import pytest

from local.azure_devops import Fault, Received
from model_release.domain.claims import State
from tests.environment import BOTH, IN_AZURITE, IN_MEMORY, Environment, event

pytestmark = IN_MEMORY

# The sample map has the ID of the definition; the map of pipelines has the name of the pipeline, which is listed.
READ = {"release": "/contoso/fraud/_apis/release/definitions/1", "pipeline": "/contoso/fraud/_apis/pipelines"}


class Requests(list[Received]):
    """Sets an event when the first GET is received."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def append(self, received: Received) -> None:
        super().append(received)
        if received.method == "GET":
            self.asked.set()


@IN_AZURITE
@BOTH
def test_the_definition_is_asked_for_while_the_claim_is_written(env: Environment) -> None:
    env.azure_devops.requests = received = Requests()
    waited = []

    def wait_for_the_question(_server: str, method: str, path: str, when: str) -> None:
        if (method, when) == ("POST", "before") and path.endswith("/modelreleases") and not waited:
            waited.append(received.asked.wait(10))

    env.storage.gate = wait_for_the_question
    (entry,) = env.registered(event())

    assert waited == [True]
    assert entry.state is State.STARTED


@BOTH
def test_the_definition_is_read_once(env: Environment) -> None:
    env.registered(event(version=20))
    env.registered(event(version=21))

    paths = [one.path.lower() for one in env.azure_devops.requests if one.method == "GET"]
    assert [path for path in paths if env.requests.find["path"] in path] == [READ[env.target]]
    assert [one.method for one in env.azure_devops.requests].count("OPTIONS") == 0


@BOTH
@pytest.mark.parametrize("version", [20, 19], ids=["redelivered", "redelivered after a newer one"])
def test_a_new_process_asks_nothing_for_an_event_that_is_recorded(env: Environment, version: int) -> None:
    env.registered(event(version=version))
    env.registered(event(version=20))
    env.restart()
    before = len(env.azure_devops.requests)

    (entry,) = env.registered(event(version=version))

    assert entry.state is State.STARTED
    assert env.azure_devops.requests[before:] == []


def test_nothing_is_asked_for_an_event_that_no_route_matches(env: Environment) -> None:
    (entry,) = env.registered(event(model="unknown"))

    assert entry.state is State.IGNORED
    assert env.azure_devops.requests == []


@BOTH
def test_a_new_process_asks_nothing_while_azure_devops_asks_for_a_pause(env: Environment) -> None:
    env.app.start_release.attempts.throttle.extend(timedelta(minutes=2))
    env.restart()

    (entry,) = env.registered(event())

    assert entry.state is State.WAITING
    assert env.azure_devops.requests == []


@BOTH
def test_a_question_that_failed_is_asked_once_in_an_attempt(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(status=503, method="GET"))

    (entry,) = env.registered(event())

    assert entry.state is State.WAITING
    assert "503" in entry.reason
    assert [one.method for one in env.azure_devops.requests].count("GET") == 1

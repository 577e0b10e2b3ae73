"""A process is killed at each step of a release; after redelivery and the sweep there is one release."""

import subprocess
import threading

import pytest
import requests

from local.serving import Server
from model_release.domain.claims import State
from model_release.errors import ClaimHeld
from tests.environment import BOTH, World, event
from tests.proxy import Proxy
from tests.test_app import NOTIFICATION, WEBHOOK, HostProcess

# What a process asks of storage and of Azure DevOps for its first release, in order.
STEPS = [
    ("storage", "POST", "create the table"),
    ("storage", "POST", "insert the claim"),
    ("storage", "GET", "read the line"),
    ("storage", "POST", "join the line"),
    ("storage", "GET", "read the hold"),
    ("azure_devops", "OPTIONS", "locations"),
    ("azure_devops", "GET", "find the definition"),
    ("azure_devops", "GET", "earlier releases"),
    ("azure_devops", "GET", "artifact versions"),
    ("azure_devops", "POST", "create the release"),
    ("storage", "PATCH", "close the claim"),
    ("storage", "PUT", "write the history"),
]

# What differs for the first run of a pipeline, which has no artifacts to learn of.
STEPS_OF_A_RUN = [
    *STEPS[:6],
    ("azure_devops", "GET", "find the pipeline"),
    ("azure_devops", "POST", "start the run"),
    *STEPS[10:],
]

KILLED = [
    (kind, step, when)
    for kind, steps in (("release", STEPS), ("pipeline", STEPS_OF_A_RUN))
    for step, (server, method, _) in enumerate(steps)
    if server == "storage" or method == "POST"
    for when in ("before", "after")
]


class Killer:
    """A gate that kills a process when it comes to one step, before or after the server has handled it."""

    def __init__(self, step: int, when: str) -> None:
        self.step, self.when = step, when
        self.passed: list[tuple[str, str]] = []
        self.process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def __call__(self, server: str, method: str, _path: str, when: str) -> None:
        with self._lock:
            if when == "before":
                self.passed.append((server, method))
            if (len(self.passed) - 1, when) == (self.step, self.when) and self.process:
                self.process.kill()
                self.process.wait()


def deliver_to_a_process(world: World, killer: Killer) -> None:
    """Deliver the event to a process that the killer may kill; it has a storage and an Azure DevOps behind gates."""
    storage = Proxy("storage", world.storage.upstream, gate=killer)
    azure_devops = Proxy("azure_devops", world.azure_devops_url, gate=killer)
    with storage.served() as storage_server, Server(azure_devops) as azure_devops_server:
        environment = world.environment(AZURE_DEVOPS_URL=f"{azure_devops_server.url}/contoso")
        environment["AzureWebJobsStorage"] = environment["AzureWebJobsStorage"].replace(
            world.storage_url, storage_server.url
        )
        with HostProcess(environment) as host:
            killer.process = host.process
            try:
                requests.post(host.url + WEBHOOK, data=event(), headers=NOTIFICATION)
            except requests.ConnectionError:
                host.process.wait()


@BOTH
def test_the_steps_are_these(world: World) -> None:
    killer = Killer(step=-1, when="never")

    deliver_to_a_process(world, killer)

    steps = STEPS if world.target == "release" else STEPS_OF_A_RUN
    assert killer.passed == [(server, method) for server, method, _ in steps]


@pytest.mark.parametrize(
    ("world", "step", "when"),
    KILLED,
    indirect=["world"],
    ids=[f"{when} {(STEPS if kind == 'release' else STEPS_OF_A_RUN)[step][2]}: {kind}" for kind, step, when in KILLED],
)
def test_a_process_killed_at_any_step_leaves_one_release(world: World, step: int, when: str) -> None:
    killer = Killer(step, when)
    deliver_to_a_process(world, killer)
    assert killer.process
    assert killer.process.returncode == -9

    try:
        world.app.registered(event())
    except ClaimHeld:
        world.clock.advance(minutes=5)
        world.app.registered(event())
    world.later(minutes=5)
    world.later(hours=1)

    assert world.versions == ["20"]
    assert [line.state for line in world.history] == [State.STARTED]

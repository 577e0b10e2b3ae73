"""A process is killed at each step of a release: after a redelivery and the sweep there is one release."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import pytest
import requests

from local.azure_ml import AzureMl
from local.serving import Server
from model_release.domain.claims import State
from model_release.errors import ClaimLeasedError
from tests.environment import BOTH, FULL, WORKSPACE, Environment, event
from tests.host_process import HostProcess
from tests.proxy import Proxy
from tests.test_app import NOTIFICATION, WEBHOOK

# The requests of a new process for its first release, in the order of each server. While the claim is written, Azure
# DevOps is asked for the definition already.
STORAGE = [
    ("GET", "read the name of the target"),
    ("GET", "read the claim"),
    ("PUT", "write the pending row"),
    ("GET", "read what was left of the version under other names"),
    ("POST", "insert the claim"),
    ("GET", "read the ID of the target"),
    ("POST", "insert who has the name of the target"),
    ("POST", "insert the ID of the target"),
    ("POST", "write the name of the target"),
    ("PATCH", "write the ID of the definition into the claim"),
    ("GET", "read the high-water mark"),
    ("POST", "write the high-water mark"),
    ("PATCH", "update the claim"),
    ("POST", "write the history"),
    ("DELETE", "delete the pending row"),
]
AZURE_DEVOPS = {
    "release": [
        ("GET", "find the definition"),
        ("GET", "read earlier releases"),
        ("GET", "read artifact versions"),
        ("POST", "create the release"),
    ],
    # A run has no artifacts, so no earlier runs are read.
    "pipeline": [
        ("GET", "find the pipeline"),
        ("POST", "create the run"),
    ],
}

# A thread of its own reads the version.
AZURE_ML = [("GET", "read the version")]

# From the end of one write to the begin of the next, a killed process leaves the same: the suite takes the end. Storage
# gets the same from both kinds, which take turns.
KILLED = [
    pytest.param(
        kind,
        server,
        step,
        when,
        id=f"{when} {name}: {kind}",
        marks=()
        if when == "after" and (server != "storage" or (method != "GET" and (step + place) % 2 == 0))
        else FULL,
    )
    for place, kind in enumerate(AZURE_DEVOPS)
    for server, steps in (("storage", STORAGE), ("azure_devops", AZURE_DEVOPS[kind]), ("azure_ml", AZURE_ML))
    for step, (method, name) in enumerate(steps)
    if server != "azure_devops" or method == "POST"
    for when in ("before", "after")
]


class Killer:
    """A gate that kills a process at one step of a server, before or after the server handles the request."""

    def __init__(self, server: str, step: int, when: str) -> None:
        self.at, self.kills = (server, step, when), when != "never"
        self.passed: dict[str, list[str]] = {"storage": [], "azure_devops": [], "azure_ml": []}
        self.process: BaseProcess | None = None
        self._lock = threading.Lock()

    def __call__(self, server: str, method: str, path: str, when: str) -> None:
        with self._lock:
            # A thread of its own reads the throttle. Either thread creates the table.
            if "throttle" in path or path.endswith("/Tables"):
                return
            if when == "before":
                self.passed[server].append(method)
            if (server, len(self.passed[server]) - 1, when) == self.at and self.process:
                self.process.kill()
                # The thread that delivers joins the process, and only one may.
                wait([self.process.sentinel])


@contextmanager
def through_a_process(env: Environment, killer: Killer) -> Iterator[str]:
    """Serve the app in a new process whose requests to storage, Azure DevOps and Azure ML pass the killer."""
    storage = Proxy("storage", env.storage.upstream, gate=killer)
    azure_devops = Proxy("azure_devops", env.azure_devops_url, gate=killer)
    azure_ml = Proxy("azure_ml", env.settings()["AZURE_RESOURCE_MANAGER_URL"], gate=killer)
    with (
        storage.served() as storage_server,
        Server(azure_devops) as azure_devops_server,
        Server(azure_ml) as azure_ml_server,
    ):
        environment = env.settings(
            AZURE_DEVOPS_URL=f"{azure_devops_server.url}/contoso", AZURE_RESOURCE_MANAGER_URL=azure_ml_server.url
        )
        environment["AzureWebJobsStorage"] = environment["AzureWebJobsStorage"].replace(
            env.storage_url, storage_server.url
        )
        with HostProcess(environment) as host:
            killer.process = host.process
            yield host.url
            if killer.kills:
                # Without a limit, a step that does not come would keep the tests waiting.
                host.process.join(30)
                assert not host.process.is_alive(), f"the step {killer.at} did not come: {killer.passed}"


def deliver_to_a_process(env: Environment, killer: Killer) -> None:
    """Deliver the event to the process."""
    with through_a_process(env, killer) as url, suppress(requests.ConnectionError):
        requests.post(url + WEBHOOK, data=event(), headers=NOTIFICATION)


@pytest.fixture(autouse=True)
def registered(env: Environment, azure_ml: AzureMl) -> None:
    """Register the version of the event in Azure ML, which confirms it."""
    azure_ml.add_version(WORKSPACE, "sklearn_regression_model", "20", created=env.clock())


@BOTH
def test_the_first_release_takes_these_steps(env: Environment) -> None:
    killer = Killer("none", step=-1, when="never")

    deliver_to_a_process(env, killer)

    assert killer.passed == {
        "storage": [method for method, _ in STORAGE],
        "azure_devops": [method for method, _ in AZURE_DEVOPS[env.target]],
        "azure_ml": [method for method, _ in AZURE_ML],
    }


@pytest.mark.parametrize(("env", "server", "step", "when"), KILLED, indirect=["env"])
def test_a_process_that_is_killed_at_any_step_leaves_one_release(
    env: Environment, server: str, step: int, when: str
) -> None:
    killer = Killer(server, step, when)
    deliver_to_a_process(env, killer)
    assert killer.process
    assert killer.process.exitcode == -9

    try:
        env.registered(event())
    except ClaimLeasedError:
        env.clock.advance(minutes=5)
        env.registered(event())
    env.later(minutes=5)
    env.later(hours=1)

    assert env.versions == ["20"]
    assert [entry.state for entry in env.history] == [State.STARTED]

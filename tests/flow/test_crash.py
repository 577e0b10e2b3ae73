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
from tests.environment import BOTH, WORKSPACE, Environment, event
from tests.host_process import HostProcess
from tests.proxy import Proxy
from tests.test_app import NOTIFICATION, WEBHOOK

# The requests of a new process for its first release, in order.
STEPS = [
    ("storage", "POST", "create the table"),
    ("storage", "GET", "read the name of the target"),
    ("storage", "GET", "read the claim"),
    ("storage", "PUT", "write the pending row"),
    ("storage", "POST", "insert the claim"),
    ("azure_devops", "OPTIONS", "read the API locations"),
    ("azure_devops", "GET", "find the definition"),
    ("storage", "GET", "read the ID of the target"),
    ("storage", "POST", "insert who has the name of the target"),
    ("storage", "POST", "insert the ID of the target"),
    ("storage", "POST", "write the name of the target"),
    ("storage", "PATCH", "write the ID of the definition into the claim"),
    ("storage", "GET", "read the high-water mark"),
    ("storage", "POST", "write the high-water mark"),
    ("azure_devops", "GET", "read earlier releases"),
    ("azure_devops", "GET", "read artifact versions"),
    ("azure_devops", "POST", "create the release"),
    ("storage", "PATCH", "update the claim"),
    ("storage", "POST", "write the history"),
    ("storage", "DELETE", "delete the pending row"),
]

# A run has no artifacts, so no earlier runs are read.
RUN_STEPS = [
    *STEPS[:6],
    ("azure_devops", "GET", "find the pipeline"),
    *STEPS[7:14],
    ("azure_devops", "POST", "create the run"),
    *STEPS[17:],
]

# A thread of its own reads the version from Azure ML, during the storage steps.
CONFIRM = len(STEPS)
ALL_STEPS = {
    kind: [*steps, *[("azure_ml", "GET", "read the version")] * (CONFIRM + 1 - len(steps))]
    for kind, steps in (("release", STEPS), ("pipeline", RUN_STEPS))
}
KILLED = [
    (kind, step, when)
    for kind, steps in ALL_STEPS.items()
    for step, (server, method, _) in enumerate(steps)
    if server == "storage" or method == "POST" or step == CONFIRM
    for when in ("before", "after")
]


class Killer:
    """A gate that kills a process at one step, before or after the server handles the request."""

    def __init__(self, step: int, when: str) -> None:
        self.step, self.when = step, when
        self.passed: list[tuple[str, str]] = []
        self.confirmed = 0
        self.process: BaseProcess | None = None
        self._lock = threading.Lock()
        self._creates_table: set[str] = set()

    def __call__(self, server: str, method: str, path: str, when: str) -> None:
        with self._lock:
            # A thread of its own reads the throttle, and may create the table too.
            if "throttle" in path or (path.endswith("/Tables") and when in self._creates_table):
                return
            self._creates_table.add(when)
            if server == "azure_ml":
                self.confirmed += when == "before"
            elif when == "before":
                self.passed.append((server, method))
            step = CONFIRM if server == "azure_ml" else len(self.passed) - 1
            if (step, when) == (self.step, self.when) and self.process:
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
            if killer.when != "never":
                host.process.join()


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
    killer = Killer(step=-1, when="never")

    deliver_to_a_process(env, killer)

    steps = STEPS if env.target == "release" else RUN_STEPS
    assert killer.passed == [(server, method) for server, method, _ in steps]
    assert killer.confirmed == 1


@pytest.mark.parametrize(
    ("env", "step", "when"),
    KILLED,
    indirect=["env"],
    ids=[f"{when} {ALL_STEPS[kind][step][2]}: {kind}" for kind, step, when in KILLED],
)
def test_a_process_that_is_killed_at_any_step_leaves_one_release(env: Environment, step: int, when: str) -> None:
    killer = Killer(step, when)
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

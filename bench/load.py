"""The size of a bench, its processes, and the sender of its events."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from local import azurite
from local.azure_ml import WORKSPACE
from local.demo_scenes import WEBHOOK, model_registered
from local.program import HOME, Program, functions_host

Side = TypeVar("Side")

APPS = {"app": HOME, "straightforward": HOME / "bench/straightforward", "logs only": HOME / "bench/logs_only"}
WARM_UP = 10
SENDERS = 32
# More than there are senders: a version waits while an earlier version of its model is being created.
MODELS = 50
PARTS = 4
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Options:
    """How much is measured; delays of Azure DevOps are in milliseconds, `claims` are few and many finished claims."""

    rounds: int = 120
    burst: int = 1_000
    cold_starts: int = 9
    reads: int = 30
    delays: tuple[int, ...] = (150, 20)
    claims: tuple[int, int] = (100, 100_000)


class AzureDevOps(Program):
    """A local Azure DevOps that answers after some milliseconds."""

    def __init__(self, delay: int) -> None:
        super().__init__(["-m", "local.azure_devops"], {})
        variables = {"ModelName": "", "ModelVersion": ""}
        self._local("definitions", {"project": "fraud", "name": "Deploy model", "variables": variables})
        self._local("faults", [{"delay": delay / 1000}])

    def requests(self) -> list[dict[str, str]]:
        """Return the requests received so far."""
        return list(requests.get(f"{self.url}/_local/requests", timeout=30).json())

    def check(self, posts: int) -> None:
        """Raise RuntimeError unless this many POSTs were received: an event that creates nothing is not measured."""
        got = sum(request["method"] == "POST" for request in self.requests())
        if got != posts:
            raise RuntimeError(f"expected {posts} POSTs to Azure DevOps, but it received {got}")

    def _local(self, path: str, content: Any) -> None:
        requests.post(f"{self.url}/_local/{path}", json=content, timeout=30).raise_for_status()


class AzureMl(Program):
    """A local Azure ML that answers after some milliseconds, with the first versions of each model."""

    def __init__(self, delay: int, models: int, versions: int) -> None:
        super().__init__(["-m", "local.azure_ml"], {})
        bodies = islice(events(models=models), models * versions)
        registered = [json.loads(body)[0]["data"] for body in bodies]
        versions_of = [
            {"workspace_id": WORKSPACE, "model": one["ModelName"], "version": str(one["ModelVersion"])}
            for one in registered
        ]
        for path, content in (("versions", versions_of), ("faults", [{"path": "/versions/", "delay": delay / 1000}])):
            requests.post(f"{self.url}/_local/{path}", json=content, timeout=30).raise_for_status()

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an app that confirms versions with it."""
        return {
            "CONFIRM_MODELS": "true",
            "AZURE_RESOURCE_MANAGER_URL": self.url,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": "local",
        }


def settings(azure_devops_url: str, storage: str = "") -> dict[str, str]:
    """Return the settings of all apps; only ours needs storage, a connection string."""
    return {
        "AzureWebJobsStorage": storage,
        "AZURE_DEVOPS_URL": f"{azure_devops_url}/contoso",
        "AZURE_DEVOPS_PAT": "a token",
        "AML_WORKSPACES": WORKSPACE,
        "CONFIRM_MODELS": "false",
        "RELEASE_MAP": str(HOME / "bench/release_map.yaml"),
    }


def start_hosts(stack: ExitStack, azure_devops: Program, **changes: str) -> dict[str, Program]:
    """Start a host for each app, with a new storage account."""
    storage = azurite.connection_string(stack.enter_context(azurite.running()))
    environment = {**settings(azure_devops.url, storage), **changes}
    return {name: stack.enter_context(functions_host(environment, app)) for name, app in APPS.items()}


def cpu_seconds(program: Program) -> float:
    """Return the CPU time of all threads, in user and system mode.

    https://docs.kernel.org/filesystems/proc.html
    """
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_megabytes(program: Program) -> float:
    """Return the peak memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


class Connection:
    """Connections to one server that are kept alive, one for each thread."""

    def __init__(self, url: str, threads: int = 1) -> None:
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(str(parts.hostname), parts.port, maxsize=threads, retries=False)

    def post(self, path: str, body: bytes, **headers: str) -> float:
        """Send a request, and return the seconds until the answer; raises RuntimeError unless it succeeds."""
        began = time.perf_counter()
        answer = self._pool.urlopen("POST", path, body, {name.replace("_", "-"): headers[name] for name in headers})
        seconds = time.perf_counter() - began
        if not 200 <= answer.status < 300:  # noqa: PLR2004  the class of success
            raise RuntimeError(f"{path} answered {answer.status}: {answer.data[:200]!r}")
        return seconds

    def deliver(self, event: bytes) -> float:
        """Deliver an event to the function."""
        return self.post(WEBHOOK, event, aeg_event_type="Notification")

    def deliver_next(self, stream: Iterator[bytes]) -> float:
        """Deliver the next event of a stream."""
        return self.deliver(next(stream))


def events(first_version: int = 1, models: int = MODELS) -> Iterator[bytes]:
    """Yield an event for the next version of each model in turn."""
    for number in count():
        version = first_version + number // models
        yield json.dumps([model_registered(f"model-{number % models}", version)]).encode()


def burst_of(url: str, stream: Iterator[bytes], size: int) -> float:
    """Deliver events from 32 threads, and return the seconds until the last answer."""
    connection = Connection(url, SENDERS)
    bodies = list(islice(stream, size))
    began = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(connection.deliver, bodies))
    return time.perf_counter() - began


def warm_up(url: str, stream: Iterator[bytes]) -> None:
    """Deliver the first ten events."""
    connection = Connection(url)
    for body in islice(stream, WARM_UP):
        connection.deliver(body)


def interleave(rounds: int, sides: Mapping[Side, Callable[[], float]]) -> dict[Side, list[float]]:
    """Measure all sides in turn, so that other load on the machine affects all of them."""
    measured: dict[Side, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            measured[name].append(measure())
    return measured

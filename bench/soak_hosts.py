"""The host processes of a soak run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Self

import requests

from local.program import HOME, Program, functions_host


class Hosts:
    """Processes that serve the app, to be killed and replaced."""

    def __init__(self, count: int, environment: Mapping[str, str], seed: str, log: Path | None) -> None:
        self.kills = 0
        self._environment = environment
        self._random = Random(seed)
        self._log = log.open("a") if log else None
        with ThreadPoolExecutor(count) as pool:
            self._running = list(pool.map(lambda _: self._start(), range(count)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            self._running.pop().kill()

    def pick(self) -> str:
        """Return the address of a running host."""
        return self._random.choice(self._running).url

    def kill(self) -> None:
        """Kill a host with SIGKILL, and start another one."""
        victim = self._random.choice(self._running)
        victim.kill()
        self.kills += 1
        # Until here deliveries went to the dead process, as they do until a load balancer notices.
        self._running = [host for host in self._running if host is not victim]
        self._running = [*self._running, self._start()]

    def run(self, function: str) -> int:
        """Run a timer function and return the status; 0 if the host was killed meanwhile."""
        with suppress(requests.RequestException):
            return requests.post(f"{self.pick()}/admin/functions/{function}", json={}, timeout=300).status_code
        return 0

    def _start(self) -> Program:
        # Azure DevOps' SDK keeps files, which processes on different machines do not share.
        cache = {"AZURE_DEVOPS_CACHE_DIR": tempfile.mkdtemp(dir=self._environment["TMPDIR"])}
        return functions_host({**self._environment, **cache}, HOME, self._log)

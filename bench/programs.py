"""The processes of a bench: started, found by the address they print, and asked what they have cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import requests

from local.demo import WORKSPACE
from model_release.app import HOME

APP = HOME
STRAIGHTFORWARD = HOME / "bench/straightforward"
LOGS_ONLY = HOME / "bench/logs_only"
_TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """A Python process that prints its address when it is ready; times are in seconds since it began."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=HOME,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        address = re.search(r"http://127\.0\.0\.1:\d+", self._process.stdout.readline())
        self.ready_after = time.monotonic() - self.began
        if not address:
            msg = f"`python {' '.join(arguments)}` does not start"
            raise RuntimeError(msg)
        self.url = address[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def cpu_seconds(self) -> float:
        """What all of its threads have used, in user and system mode.

        https://docs.kernel.org/filesystems/proc.html
        """
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_megabytes(self) -> float:
        """The most memory that it ever had at once."""
        found = re.search(r"VmHWM:\s+(\d+) kB", self._read("status"))
        assert found
        return int(found[1]) / 1024

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


class AzureDevOps(Program):
    """A local Azure DevOps that answers after so many milliseconds."""

    def __init__(self, milliseconds: int) -> None:
        super().__init__(["-m", "local.azure_devops", "--empty"], {})
        variables = {"ModelName": "", "ModelVersion": ""}
        self._local("definitions", {"project": "fraud", "name": "Deploy model", "variables": variables})
        self._local("faults", [{"delay": milliseconds / 1000}])

    def requests(self) -> list[dict[str, str]]:
        """What it was asked so far."""
        answer = requests.get(f"{self.url}/_local/requests", timeout=30)
        return list(answer.json())

    def check(self, posts: int) -> None:
        """Raise RuntimeError unless it got so many POSTs: what did not end in one is quick, and no event's time."""
        got = sum(request["method"] == "POST" for request in self.requests())
        if got != posts:
            msg = f"{posts} POSTs were to be measured, and {got} were sent"
            raise RuntimeError(msg)

    def _local(self, what: str, content: Any) -> None:
        requests.post(f"{self.url}/_local/{what}", json=content, timeout=30).raise_for_status()


def settings(azure_devops_url: str, storage: str = "") -> dict[str, str]:
    """The settings of all the apps; storage is a connection string, which only this app needs."""
    return {
        "AzureWebJobsStorage": storage,
        "AZURE_DEVOPS_URL": f"{azure_devops_url}/contoso",
        "AZURE_DEVOPS_PAT": "a token",
        "AML_WORKSPACES": WORKSPACE,
        "RELEASE_MAP": str(HOME / "bench/release_map.yaml"),
    }


def serve(app: Path, environment: Mapping[str, str]) -> Program:
    """The local Functions host with the app of this folder."""
    return Program(["-m", "local.functions_host", "--port", "0", "--no-timers", "--app-dir", str(app)], environment)

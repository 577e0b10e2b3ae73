"""Cold starts: from the start of the process until its functions are loaded, and until its first POST."""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from werkzeug.wrappers import Request, Response

from bench.figures import Figure, Section, ratio
from bench.load import APPS, Connection, Options, events, settings
from local import azurite
from local.azure_devops import AzureDevOps, Fault
from local.program import functions_host
from local.serving import Server

_DELAY_SECONDS = 0.15
_PATIENCE_SECONDS = 30


class _FirstPost:
    """An Azure DevOps that records the time of the first POST."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.time = 0.0
        self._azure_devops = AzureDevOps()
        self._azure_devops.add_definition("fraud", "Deploy model", variables={"ModelName": "", "ModelVersion": ""})
        self._azure_devops.misbehave(Fault(delay=_DELAY_SECONDS))

    def __call__(self, request: Request) -> Response:
        if request.method == "POST":
            self.time = time.monotonic()
            self.arrived.set()
        return self._azure_devops(request)


def cold_start(options: Options) -> Iterator[Section]:
    """Start the apps in turn, with and without bytecode, and compare the medians."""
    stream = events()
    times: defaultdict[str, defaultdict[str, list[Sequence[float]]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder, azurite.running() as tables:
        storage = azurite.connection_string(tables)
        whole, part = Path(folder, "whole"), Path(folder, "part")
        for app in APPS:
            _start(app, storage, next(stream), {"PYTHONPYCACHEPREFIX": str(whole), "PYTHONDONTWRITEBYTECODE": ""})
        # Python comes with its own bytecode; a new deployment has none of the packages and of the app.
        library = sysconfig.get_path("stdlib").lstrip("/")
        shutil.copytree(whole / library, part / library, ignore=shutil.ignore_patterns("*-packages"))
        for _ in range(options.cold_starts):
            for cache, place in (("with bytecode", whole), ("without bytecode", part)):
                environment = {"PYTHONPYCACHEPREFIX": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
                for app in APPS:
                    times[cache][app].append(_start(app, storage, next(stream), environment))
    for cache, starts in times.items():
        medians = {app: [median(column) for column in zip(*values, strict=True)] for app, values in starts.items()}
        yield Section(f"Cold start {cache}", _figures(cache, medians))


def _figures(cache: str, medians: Mapping[str, Sequence[float]]) -> list[Figure]:
    (loaded, posted), theirs, bare = medians["app"], medians["straightforward"], medians["logs only"]
    start = f"process start to first POST against the straightforward function, {cache}"
    return [
        ratio(start, posted, theirs[1], "s", at_most=1.6),
        ratio(f"functions loaded against an app that only logs, {cache}", loaded, bare[0], "s", at_most=1.5),
        ratio(f"functions loaded against the straightforward function, {cache}", loaded, theirs[0], "s"),
    ]


def _start(app: str, storage: str, event: bytes, environment: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds until the functions are loaded, and until the first POST; 0 if the app sends none."""
    azure_devops = _FirstPost()
    with (
        Server(azure_devops) as server,
        functions_host({**settings(server.url, storage), **environment}, APPS[app]) as host,
    ):
        Connection(host.url).deliver(event)
        if app == "logs only":
            return host.ready_after, 0
        if not azure_devops.arrived.wait(_PATIENCE_SECONDS):
            raise RuntimeError(f"no POST arrived within {_PATIENCE_SECONDS} s")
        return host.ready_after, azure_devops.time - host.began

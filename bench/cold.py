"""Cold starts: from the start of the process until its functions are loaded, and until its first POST arrives."""

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
from bench.load import Connection, events
from bench.options import Options
from bench.programs import APP, LOGS_ONLY, STRAIGHTFORWARD, serve, settings
from local import azurite
from local.azure_devops import AzureDevOps, Fault
from local.serving import Server

_APPS = {"app": APP, "straightforward": STRAIGHTFORWARD, "logs only": LOGS_ONLY}
_DELAY_SECONDS = 0.15
_PATIENCE_SECONDS = 30


class _FirstPost:
    """An Azure DevOps that notes when the first POST arrives; it has this process to itself meanwhile."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._at = 0.0
        self._azure_devops = AzureDevOps()
        self._azure_devops.add_definition("fraud", "Deploy model", variables={"ModelName": "", "ModelVersion": ""})
        self._azure_devops.misbehave(Fault(delay=_DELAY_SECONDS))

    def __call__(self, request: Request) -> Response:
        if request.method == "POST":
            self._at = time.monotonic()
            self._arrived.set()
        return self._azure_devops(request)

    def at(self) -> float:
        """When it arrived; raises RuntimeError when none did."""
        if not self._arrived.wait(_PATIENCE_SECONDS):
            msg = "no POST arrived"
            raise RuntimeError(msg)
        return self._at


def cold_start(options: Options) -> Iterator[Section]:
    """The apps are started in turn, with and without bytecode; the medians are compared."""
    stream = events()
    with tempfile.TemporaryDirectory() as folder, azurite.running() as tables:
        storage = azurite.connection_string(tables)
        whole, part = Path(folder, "whole"), Path(folder, "part")
        for app in _APPS.values():
            _start(app, storage, next(stream), {"PYTHONPYCACHEPREFIX": str(whole), "PYTHONDONTWRITEBYTECODE": ""})
        _copy_standard_library(whole, part)
        times: defaultdict[tuple[str, str], list[Sequence[float]]] = defaultdict(list)
        for _ in range(options.cold_starts):
            for cache, where in (("with bytecode", whole), ("without bytecode", part)):
                environment = {"PYTHONPYCACHEPREFIX": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
                for name, app in _APPS.items():
                    times[cache, name].append(_start(app, storage, next(stream), environment))
    medians = {key: [median(column) for column in zip(*values, strict=True)] for key, values in times.items()}
    for cache in ("with bytecode", "without bytecode"):
        yield Section(f"Cold start {cache}", _figures(cache, {name: medians[cache, name] for name in _APPS}))


def _figures(cache: str, medians: Mapping[str, Sequence[float]]) -> list[Figure]:
    (loaded, posted), theirs, bare = medians["app"], medians["straightforward"], medians["logs only"]
    return [
        ratio(
            f"process start to first POST against the straightforward function, {cache}",
            posted,
            theirs[1],
            "s",
            at_most=1.6,
        ),
        ratio(f"functions loaded against an app that only logs, {cache}", loaded, bare[0], "s", at_most=1.5),
        ratio(f"functions loaded against the straightforward function, {cache}", loaded, theirs[0], "s"),
    ]


def _start(app: Path, storage: str, event: bytes, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds until the functions are loaded, and until the first POST; nought for an app that sends none."""
    azure_devops = _FirstPost()
    with Server(azure_devops) as server, serve(app, {**settings(server.url, storage), **environment}) as host:
        Connection(host.url).deliver(event)
        posted = 0 if app == LOGS_ONLY else azure_devops.at() - host.began
        return host.ready_after, posted


def _copy_standard_library(whole: Path, part: Path) -> None:
    """Python comes with its own bytecode; what is missing in a fresh deployment is that of the packages and the app."""
    place = sysconfig.get_path("stdlib").lstrip("/")
    shutil.copytree(whole / place, part / place, ignore=shutil.ignore_patterns("site-packages", "dist-packages"))

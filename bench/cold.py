"""Cold starts of the package that is deployed: until its functions are loaded, and until its first POST."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from werkzeug.wrappers import Request, Response

from bench.figures import Figure, Section, ratio
from bench.load import APPS, Connection, Options, cpu_seconds, events, settings
from bench.package import Packages, one_cpu, packages, quarter_cpu
from local import azurite
from local.azure_devops import AzureDevOps, Fault
from local.azure_ml import WORKSPACE, AzureMl
from local.serving import Server

_AZURE_DEVOPS_SECONDS, _AZURE_ML_SECONDS = 0.15, 0.1
_PATIENCE_SECONDS = 60
_REGISTERED = datetime(2026, 11, 20, tzinfo=UTC)
# The first is the one of the app.
_PYTHONS = ("3.13", "3.11")
_FULL, _QUARTER = "1 CPU", "a quarter of a CPU"


@dataclass(frozen=True)
class Start:
    """One start: seconds, and seconds of CPU, until the functions are loaded and until the first POST."""

    loaded: float
    loaded_cpu: float
    posted: float
    posted_cpu: float


class _FirstPost:
    """An Azure DevOps that records when the first POST arrives."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.time = 0.0
        self._azure_devops = AzureDevOps()
        self._azure_devops.add_definition("fraud", "Deploy model", variables={"ModelName": "", "ModelVersion": ""})
        self._azure_devops.misbehave(Fault(delay=_AZURE_DEVOPS_SECONDS))

    def __call__(self, request: Request) -> Response:
        if request.method == "POST":
            self.time = time.monotonic()
            self.arrived.set()
        return self._azure_devops(request)


class _Bench:
    """Starts the apps of packages, between one storage and one Azure ML that confirms each version."""

    def __init__(self, stack: ExitStack) -> None:
        self._storage = azurite.connection_string(stack.enter_context(azurite.running()))
        self._azure_ml = AzureMl([WORKSPACE])
        self._azure_ml.misbehave(Fault(delay=_AZURE_ML_SECONDS))
        self._url = stack.enter_context(Server(self._azure_ml)).url
        self._events = events()

    def settings(self, azure_devops_url: str) -> dict[str, str]:
        """Return the settings of all apps, with confirmation."""
        return {
            **settings(azure_devops_url, self._storage),
            "CONFIRM_MODELS": "true",
            "AZURE_RESOURCE_MANAGER_URL": self._url,
            "IDENTITY_ENDPOINT": f"{self._url}/msi/token",
            "IDENTITY_HEADER": "local",
        }

    def start(self, of: Packages, app: str, prefix: Sequence[str]) -> Start:
        """Start an app and deliver an event; the app that only logs sends no POST."""
        event = next(self._events)
        data = json.loads(event)[0]["data"]
        self._azure_ml.add_version(WORKSPACE, data["ModelName"], str(data["ModelVersion"]), created=_REGISTERED)
        azure_devops = _FirstPost()
        with Server(azure_devops) as server, of.serve(app, self.settings(server.url), prefix) as host:
            loaded_cpu = cpu_seconds(host)
            if app == "logs only":
                Connection(host.url).deliver(event)
                return Start(host.ready_after, loaded_cpu, 0, 0)
            with ThreadPoolExecutor() as pool:
                delivery = pool.submit(Connection(host.url).deliver, event)
                if not azure_devops.arrived.wait(_PATIENCE_SECONDS):
                    raise RuntimeError(f"no POST arrived within {_PATIENCE_SECONDS} s")
                posted_cpu = cpu_seconds(host)
                delivery.result()
            return Start(host.ready_after, loaded_cpu, azure_devops.time - host.began, posted_cpu)

    def imported(self, of: Packages, module: str) -> float:
        """Return the CPU time of a process that imports a module of the package."""
        code = f"import {module}, time; print(time.process_time())"
        environment = {**self.settings("http://127.0.0.1:9"), **of.environment("app")}
        command = [*one_cpu(), of.interpreter, "-c", code]
        done = subprocess.run(
            command, cwd=of.folder / "app", env=environment, capture_output=True, text=True, check=True
        )
        return float(done.stdout.splitlines()[-1])


def cold_start(options: Options) -> Iterator[Section]:
    """Start the packages of the apps in turn, and compare the medians."""
    with ExitStack() as stack:
        bench = _Bench(stack)
        limits: dict[str, Sequence[str] | None] = {_FULL: one_cpu(), _QUARTER: stack.enter_context(quarter_cpu())}
        for python in _PYTHONS:
            for bytecode in (True, False):
                place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                made = packages(place, python, bytecode=bytecode)
                if made is None:
                    print(f"Python {python} is not at hand, so its starts are not measured.", flush=True)
                    continue
                with_bytecode = "with bytecode" if bytecode else "without bytecode"
                for name, prefix in limits.items():
                    if prefix is None:
                        print(f"No right to make a cgroup: starts with {name} are not measured.", flush=True)
                        continue
                    title = f"Python {python}, {name}, {with_bytecode}"
                    is_limited = (python, name, bytecode) == (_PYTHONS[0], _FULL, True)
                    starts = _starts(bench, made, prefix, options.cold_starts)
                    yield Section(f"Cold start: {title}", list(_figures(title, starts, is_limited=is_limited)))
                imports = _imports(bench, made, options.cold_starts)
                title = f"Python {python}, {with_bytecode}"
                limit = 2.2 if python == _PYTHONS[0] and bytecode else None
                name = f"CPU to import function_app, with everything built, against azure.functions alone, {title}"
                ours, theirs = imports["function_app"], imports["azure.functions"]
                yield Section(f"Imports: {title}", [ratio(name, ours, theirs, "s", at_most=limit)])


def _starts(bench: _Bench, made: Packages, prefix: Sequence[str], count: int) -> dict[str, list[Start]]:
    measured: defaultdict[str, list[Start]] = defaultdict(list)
    # The first round reads the files from disk, and is not counted.
    for number in range(count + 1):
        for app in APPS:
            start = bench.start(made, app, prefix)
            if number:
                measured[app].append(start)
    return dict(measured)


def _imports(bench: _Bench, made: Packages, count: int) -> dict[str, float]:
    modules = ("function_app", "azure.functions")
    measured = [[bench.imported(made, module) for module in modules] for _ in range(count)]
    return dict(zip(modules, map(median, zip(*measured, strict=True)), strict=True))


def _figures(title: str, starts: Mapping[str, Sequence[Start]], *, is_limited: bool) -> Iterator[Figure]:
    def middle(app: str, name: str) -> float:
        return median(float(getattr(start, name)) for start in starts[app])

    for name, what, other, limit in (
        ("posted", "process start to first POST", "straightforward", 1.6),
        ("loaded", "functions loaded", "logs only", 2.0),
        ("loaded", "functions loaded", "straightforward", None),
    ):
        against = "an app that only logs" if other == "logs only" else "the straightforward function"
        figure = f"{what} against {against}, {title}"
        at_most = limit if is_limited else None
        yield ratio(figure, middle("app", name), middle(other, name), "s", at_most=at_most)
        yield ratio(f"{figure}: CPU", middle("app", f"{name}_cpu"), middle(other, f"{name}_cpu"), "s")

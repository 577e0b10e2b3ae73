"""A warm app: one event at a time, and many at once, against the bare POST and the straightforward function."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from werkzeug.wrappers import Request, Response

from bench.figures import Figure, Section, p50, p95, ratio
from bench.load import WARM_UP, Connection, burst_of, deliver_next, events, interleave, warm_up
from bench.options import Options
from bench.programs import APP, LOGS_ONLY, STRAIGHTFORWARD, AzureDevOps, Program, serve, settings
from bench.soak import Forward
from local import azurite
from local.serving import Server

# The delay that the limits are for, in milliseconds.
LIMITED = 150
_PARTS = 4


def one_event(options: Options) -> Iterator[Section]:
    """Webhook to answer, and the CPU time that it takes."""
    for delay in options.delays:
        with ExitStack() as stack:
            azure_devops = stack.enter_context(AzureDevOps(delay))
            hosts = _hosts(stack, azure_devops)
            streams = {name: events(models=WARM_UP) for name in hosts}
            for name, host in hosts.items():
                warm_up(host.url, streams[name])
            bare = _bare_post(azure_devops)
            before = {name: host.cpu_seconds() for name, host in hosts.items()}
            deliver = {name: partial(deliver_next, Connection(host.url), streams[name]) for name, host in hosts.items()}
            seconds = interleave(options.rounds, {"bare": bare, **deliver})
            cpu = {name: (host.cpu_seconds() - before[name]) / options.rounds * 1000 for name, host in hosts.items()}
            azure_devops.check(posts=2 * WARM_UP + 3 * options.rounds)
        yield Section(
            f"One event at a time, Azure DevOps at {delay} ms", [*_latency(delay, seconds), *_cpu(delay, cpu)]
        )


def round_trips(_: Options) -> Iterator[Section]:
    """Requests for one event of a warm app, counted apart because counting costs time."""
    with ExitStack() as stack:
        azure_devops = stack.enter_context(AzureDevOps(0))
        counting = _Counting(Forward(stack.enter_context(azurite.running())))
        storage = azurite.connection_string(stack.enter_context(Server(counting)).url)
        host = stack.enter_context(serve(APP, settings(azure_devops.url, storage)))
        stream = events(models=WARM_UP)
        warm_up(host.url, stream)
        before = counting.requests, len(azure_devops.requests())
        warm_up(host.url, stream)
        figures = [
            Figure("storage round trips for one event", (counting.requests - before[0]) / WARM_UP),
            Figure("requests to Azure DevOps for one event", (len(azure_devops.requests()) - before[1]) / WARM_UP),
        ]
    yield Section("Round trips of a warm app", figures)


def bursts(options: Options) -> Iterator[Section]:
    """Many events from 32 threads; the apps take parts of them in turn."""
    for delay in options.delays:
        yield _burst(options, delay)
    # As many threads as there are senders, where Azure's default is the number of cores and four.
    yield _burst(options, LIMITED, "32")


def _burst(options: Options, delay: int, threads: str = "") -> Section:
    what = f"burst of {options.burst:,}, Azure DevOps at {delay} ms, {threads or 'default'} worker threads"
    size = options.burst // _PARTS
    with ExitStack() as stack:
        azure_devops = stack.enter_context(AzureDevOps(delay))
        hosts = _hosts(stack, azure_devops, PYTHON_THREADPOOL_THREAD_COUNT=threads)
        del hosts["logs only"]
        streams = {name: events() for name in hosts}
        for name, host in hosts.items():
            warm_up(host.url, streams[name])
        ten, cpu = hosts["app"].peak_megabytes(), hosts["app"].cpu_seconds()
        seconds = interleave(
            _PARTS,
            {name: partial(burst_of, host.url, streams[name], size) for name, host in hosts.items()},
        )
        throughput = {name: options.burst / sum(values) for name, values in seconds.items()}
        memory, cpu = hosts["app"].peak_megabytes(), hosts["app"].cpu_seconds() - cpu
        azure_devops.check(posts=2 * (WARM_UP + _PARTS * size))
    limited = delay == LIMITED
    return Section(
        what[0].upper() + what[1:],
        [
            ratio(
                f"{what}: throughput against the straightforward function",
                throughput["app"],
                throughput["straightforward"],
                "/s",
                at_least=1.2 if limited else None,
            ),
            ratio(f"{what}: peak memory over that of ten events", memory, ten, "MB", at_most=1.5),
            Figure(f"{what}: time", sum(seconds["app"]), "s"),
            Figure(f"{what}: CPU per event, host included", cpu / options.burst * 1000, "ms"),
        ],
    )


class _Counting:
    """Counts the requests to an application."""

    def __init__(self, application: Forward) -> None:
        self.requests = 0
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        with self._lock:
            self.requests += 1
        return self._application(request)


def _hosts(stack: ExitStack, azure_devops: Program, **changes: str) -> dict[str, Program]:
    """A process for each app, with a fresh storage account."""
    storage = azurite.connection_string(stack.enter_context(azurite.running()))
    environment = {**settings(azure_devops.url, storage), **changes}
    apps = {"app": APP, "straightforward": STRAIGHTFORWARD, "logs only": LOGS_ONLY}
    return {name: stack.enter_context(serve(app, environment)) for name, app in apps.items()}


def _bare_post(azure_devops: AzureDevOps) -> partial[float]:
    """The request that the app sent last, as nothing but a POST."""
    sent = [request for request in azure_devops.requests() if request["method"] == "POST"]
    body = next(request["body"] for request in reversed(sent) if "[model-release" in request["body"])
    path = next(f"{request['path']}?{request['query']}" for request in sent)
    sign_in = {"Authorization": "Basic OmEgdG9rZW4=", "Content_Type": "application/json"}
    return partial(Connection(azure_devops.url).post, path, body.encode(), **sign_in)


def _latency(delay: int, seconds: Mapping[str, list[float]]) -> list[Figure]:
    limits = (1.15, 1.4, 0.6) if delay == LIMITED else (None, None, None)
    ours, bare, theirs = seconds["app"], seconds["bare"], seconds["straightforward"]
    what = f"one event, Azure DevOps at {delay} ms"
    return [
        ratio(f"{what}: p50 against the bare POST", p50(ours), p50(bare), "ms", at_most=limits[0]),
        ratio(f"{what}: p95 against the bare POST", p95(ours), p95(bare), "ms", at_most=limits[1]),
        ratio(f"{what}: p50 against the straightforward function", p50(ours), p50(theirs), "ms", at_most=limits[2]),
        ratio(f"{what}: p95 against the straightforward function", p95(ours), p95(theirs), "ms"),
    ]


def _cpu(delay: int, cpu: Mapping[str, float]) -> list[Figure]:
    host = cpu["logs only"]
    what = f"CPU per event, host excluded, Azure DevOps at {delay} ms"
    return [
        Figure(what, cpu["app"] - host, "ms", f"{cpu['app']:.1f} less {host:.1f} ms", at_most=9),
        Figure(f"{what}: the straightforward function", cpu["straightforward"] - host, "ms"),
    ]

"""A warm app: one event at a time, and many at once, against the bare POST and the straightforward function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from bench.figures import Figure, Section, p50, p95, ratio
from bench.load import (
    PARTS,
    WARM_UP,
    AzureDevOps,
    AzureMl,
    Connection,
    Options,
    burst_of,
    cpu_seconds,
    events,
    interleave,
    peak_megabytes,
    settings,
    start_hosts,
    warm_up,
)
from bench.proxy import Forward, Proxy
from local import azurite
from local.program import functions_host
from local.serving import Server

# The delay in milliseconds that the limits are for.
LIMITED = 150
_AZURE_ML_DELAY = 100


def one_event(options: Options) -> Iterator[Section]:
    """Measure the time from webhook to answer, and the CPU time."""
    for delay in options.delays:
        with ExitStack() as stack:
            azure_devops = stack.enter_context(AzureDevOps(delay))
            hosts = start_hosts(stack, azure_devops)
            streams = {name: events(models=WARM_UP) for name in hosts}
            for name, host in hosts.items():
                warm_up(host.url, streams[name])
            before = {name: cpu_seconds(host) for name, host in hosts.items()}
            deliver = {name: partial(Connection(host.url).deliver_next, streams[name]) for name, host in hosts.items()}
            seconds = interleave(options.rounds, {"bare": _bare_post(azure_devops), **deliver})
            cpu = {name: (cpu_seconds(host) - before[name]) / options.rounds * 1000 for name, host in hosts.items()}
            azure_devops.check(posts=2 * WARM_UP + 3 * options.rounds)
        figures = [*_latency(delay, seconds), *_cpu(delay, cpu)]
        yield Section(f"One event at a time, Azure DevOps at {delay} ms", figures)


def confirmed_event(options: Options) -> Iterator[Section]:
    """Measure one event with and without confirmation, and with an Azure ML that answers after 100 ms."""
    with ExitStack() as stack:
        azure_devops = stack.enter_context(AzureDevOps(LIMITED))
        azure_ml = stack.enter_context(AzureMl(_AZURE_ML_DELAY, WARM_UP, 2 + options.rounds // WARM_UP))
        hosts = {}
        for name, changes in (("with", azure_ml.settings), ("without", {})):
            storage = azurite.connection_string(stack.enter_context(azurite.running()))
            hosts[name] = stack.enter_context(functions_host(settings(azure_devops.url, storage) | changes))
        streams = {name: events(models=WARM_UP) for name in hosts}
        for name, host in hosts.items():
            warm_up(host.url, streams[name])
        deliver = {name: partial(Connection(host.url).deliver_next, streams[name]) for name, host in hosts.items()}
        seconds = interleave(options.rounds, {"bare": _bare_post(azure_devops), **deliver})
        azure_devops.check(posts=2 * WARM_UP + 3 * options.rounds)
    what = f"one event, Azure DevOps at {LIMITED} ms, Azure ML at {_AZURE_ML_DELAY} ms"
    figures = [
        ratio(f"{what}, {name} confirmation: p50 against the bare POST", p50(seconds[name]), p50(seconds["bare"]), "ms")
        for name in hosts
    ]
    left = p50(seconds["with"]) - p50(seconds["without"])
    yield Section(what[0].upper() + what[1:], [*figures, Figure(f"{what}: confirmation costs", left, "ms")])


def round_trips(_: Options) -> Iterator[Section]:
    """Count the requests of a warm app for one event, separately because counting costs time."""
    with ExitStack() as stack:
        azure_devops = stack.enter_context(AzureDevOps(0))
        proxy = Proxy(Forward(stack.enter_context(azurite.running())))
        storage = azurite.connection_string(stack.enter_context(Server(proxy)).url)
        host = stack.enter_context(functions_host(settings(azure_devops.url, storage)))
        stream = events(models=WARM_UP)
        warm_up(host.url, stream)
        before = proxy.requests, len(azure_devops.requests())
        warm_up(host.url, stream)
        figures = [
            Figure("storage round trips for one event", (proxy.requests - before[0]) / WARM_UP),
            Figure("requests to Azure DevOps for one event", (len(azure_devops.requests()) - before[1]) / WARM_UP),
        ]
    yield Section("Round trips of a warm app", figures)


def bursts(options: Options) -> Iterator[Section]:
    """Measure many events from 32 threads, in parts that alternate between the apps."""
    for delay in options.delays:
        yield _burst(options, delay)
    # As many threads as senders; Azure's default is the number of cores plus four.
    yield _burst(options, LIMITED, "32")


def _burst(options: Options, delay: int, threads: str = "") -> Section:
    what = f"burst of {options.burst:,}, Azure DevOps at {delay} ms, {threads or 'default'} worker threads"
    size = options.burst // PARTS
    with ExitStack() as stack:
        azure_devops = stack.enter_context(AzureDevOps(delay))
        hosts = start_hosts(stack, azure_devops, PYTHON_THREADPOOL_THREAD_COUNT=threads)
        del hosts["logs only"]
        streams = {name: events() for name in hosts}
        for name, host in hosts.items():
            warm_up(host.url, streams[name])
        memory, cpu = peak_megabytes(hosts["app"]), cpu_seconds(hosts["app"])
        sides = {name: partial(burst_of, host.url, streams[name], size) for name, host in hosts.items()}
        seconds = interleave(PARTS, sides)
        throughput = {name: options.burst / sum(values) for name, values in seconds.items()}
        peak, cpu = peak_megabytes(hosts["app"]), cpu_seconds(hosts["app"]) - cpu
        azure_devops.check(posts=2 * (WARM_UP + PARTS * size))
    ours, theirs = throughput["app"], throughput["straightforward"]
    against = f"{what}: throughput against the straightforward function"
    return Section(
        what[0].upper() + what[1:],
        [
            ratio(against, ours, theirs, "/s", at_least=1.5 if delay == LIMITED and not threads else None),
            ratio(f"{what}: peak memory against ten events", peak, memory, "MB", at_most=None if threads else 1.1),
            Figure(f"{what}: time", sum(seconds["app"]), "s"),
            Figure(f"{what}: CPU per event, host included", cpu / options.burst * 1000, "ms"),
        ],
    )


def _bare_post(azure_devops: AzureDevOps) -> partial[float]:
    """Return the latest request of the app as nothing but a POST."""
    sent = [request for request in azure_devops.requests() if request["method"] == "POST"]
    body = next(request["body"] for request in reversed(sent) if "[model-release" in request["body"])
    path = next(f"{request['path']}?{request['query']}" for request in sent)
    sign_in = {"Authorization": "Basic OmEgdG9rZW4=", "Content_Type": "application/json"}
    return partial(Connection(azure_devops.url).post, path, body.encode(), **sign_in)


def _latency(delay: int, seconds: Mapping[str, list[float]]) -> list[Figure]:
    limits = (1.12, 1.2, 0.6) if delay == LIMITED else (None, None, None)
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
        Figure(what, cpu["app"] - host, "ms", f"{cpu['app']:.1f} minus {host:.1f} ms"),
        Figure(f"{what}: the straightforward function", cpu["straightforward"] - host, "ms"),
    ]

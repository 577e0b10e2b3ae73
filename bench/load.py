"""Send events as Event Grid does, and take the time of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3

from local.demo import WEBHOOK, model_registered

Side = TypeVar("Side")

WARM_UP = 10
SENDERS = 32
# More than there are senders: a version waits while another of its model is being started.
MODELS = 50


class Connection:
    """Connections to one server that are kept alive, one for each thread."""

    def __init__(self, url: str, threads: int = 1) -> None:
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(str(parts.hostname), parts.port, maxsize=threads, retries=False)

    def post(self, path: str, body: bytes, **headers: str) -> float:
        """Send it, and return the seconds until it was answered; raises RuntimeError when that was no success."""
        began = time.perf_counter()
        answer = self._pool.urlopen("POST", path, body, {name.replace("_", "-"): headers[name] for name in headers})
        seconds = time.perf_counter() - began
        if not 200 <= answer.status < 300:  # noqa: PLR2004  the class of success
            msg = f"{path} answered {answer.status}: {answer.data[:200]!r}"
            raise RuntimeError(msg)
        return seconds

    def deliver(self, event: bytes) -> float:
        """Deliver an event to the function."""
        return self.post(WEBHOOK, event, aeg_event_type="Notification")


def events(first_version: int = 1, models: int = MODELS) -> Iterator[bytes]:
    """Events of so many models, each for the next version of the next model."""
    for number in count():
        version = first_version + number // models
        yield json.dumps([model_registered(f"model-{number % models}", version)]).encode()


def deliver_next(connection: Connection, stream: Iterator[bytes]) -> float:
    """Deliver one event."""
    return connection.deliver(next(stream))


def burst_of(url: str, stream: Iterator[bytes], size: int) -> float:
    """Deliver so many events from 32 threads, and return the seconds until the last was answered."""
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
    """Measure all sides in turn, so that whatever else the machine does hits all of them."""
    measured: dict[Side, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            measured[name].append(measure())
    return measured

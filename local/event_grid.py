"""Event Grid on this machine: delivers events as its documentation promises, and no better."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, NamedTuple, Self

import requests

Event = Mapping[str, Any]

_MINUTE, _HOUR = 60, 3600
_SCHEDULE = (10, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR)
_LEAST_WAIT = {401: 5 * _MINUTE, 404: 5 * _MINUTE, 408: 2 * _MINUTE, 503: 30}
_SUCCESS = range(200, 205)
_NOT_RETRIED = {
    400: "UndeliverableDueToHttpBadRequest",
    403: "UndeliverableDueToHttpForbidden",
    413: "UndeliverableDueToHttpRequestEntityTooLarge",
}
_OUTCOMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "TimedOut",
    413: "PayloadTooLarge",
}
_HEADERS = {"aeg-event-type": "Notification"}


@dataclass(frozen=True)
class Terms:
    """How a subscription delivers; all times are in Event Grid's own seconds."""

    compression: float = 1  # how much faster time passes here
    answer_window: float = 30
    time_to_live: float = 24 * _HOUR
    most_attempts: int = 30
    parallel: int = 16
    duplicates: float = 0  # the share of acknowledged events that is delivered again
    disorder: int = 0  # how many earlier events an event may overtake


class _Answer(NamedTuple):
    status: int
    outcome: str


@dataclass(frozen=True)
class _Delivery:
    event: Event
    published: float
    attempts: int = 0
    redelivered: bool = False


class EventGrid:
    """One event subscription: at least once, out of order, in parallel, and with dead letters.

    A slow answer is not an answer: the event is delivered again while the first delivery may still be processed.
    https://learn.microsoft.com/azure/event-grid/delivery-and-retry
    """

    def __init__(
        self, endpoint: Callable[[], str], terms: Terms | None = None, *, random: Random | None = None
    ) -> None:
        """Take `endpoint`, which returns the webhook's URL for each delivery, as a load balancer would choose it."""
        self.dead_letters: list[Event] = []
        self.outcomes: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self._endpoint = endpoint
        self._terms = terms or Terms()
        self._random = random or Random()
        self._numbers = count()
        self._queue: list[tuple[float, float, int, _Delivery]] = []
        self._in_progress = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._terms.parallel)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def waiting(self) -> int:
        """The number of deliveries that are queued or in progress."""
        with self._changed:
            return len(self._queue) + self._in_progress

    @property
    def deliveries(self) -> int:
        """The number of deliveries that have ended."""
        return self.outcomes.total()

    def publish(self, event: Event) -> None:
        """Deliver an event at once, and again until it is acknowledged or expires."""
        self._put(_Delivery(event, time.monotonic()))

    def redeliver_dead_letters(self) -> int:
        """Publish the dead letters again, as a person does with the blobs, and return their number."""
        with self._changed:
            dead, self.dead_letters = self.dead_letters, []
        for event in dead:
            self.publish(event)
        return len(dead)

    def _put(self, delivery: _Delivery, wait: float = 0) -> None:
        with self._changed:
            number = next(self._numbers)
            # Events that are due now are delivered in the order of their blurred numbers; later ones by their time.
            due = time.monotonic() + wait / self._terms.compression if wait else 0
            place = number + self._random.uniform(0, self._terms.disorder)
            heapq.heappush(self._queue, (due, place, number, delivery))
            self._changed.notify()

    def _take(self) -> _Delivery | None:
        with self._changed:
            while not self._closed:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    self._in_progress += 1
                    return heapq.heappop(self._queue)[-1]
                self._changed.wait(wait)
        return None

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while delivery := self._take():
                answer = self._send(session, delivery)
                self._finish(replace(delivery, attempts=delivery.attempts + 1), answer)
                with self._changed:
                    self._in_progress -= 1

    def _send(self, session: requests.Session, delivery: _Delivery) -> _Answer:
        window = self._terms.answer_window / self._terms.compression
        try:
            answer = session.post(self._endpoint(), json=[delivery.event], headers=_HEADERS, timeout=window)
        except requests.Timeout:
            return _Answer(0, "TimedOut")
        except requests.RequestException:
            return _Answer(0, "SocketError")
        if answer.status_code in _SUCCESS:
            return _Answer(answer.status_code, "Delivered")
        return _Answer(answer.status_code, _OUTCOMES.get(answer.status_code, "Aborted"))

    def _finish(self, delivery: _Delivery, answer: _Answer) -> None:
        with self._changed:
            self.outcomes[answer.outcome] += 1
            if answer.status in _SUCCESS:
                self.acknowledged.add(str(delivery.event["id"]))
        if answer.status in _SUCCESS:
            if not delivery.redelivered and self._random.random() < self._terms.duplicates:
                self._put(replace(delivery, redelivered=True), self._wait(delivery, answer))
        elif reason := self._dead_letter_reason(delivery, answer):
            with self._changed:
                self.dead_letters.append(_dead_letter(delivery, answer, reason))
        else:
            self._put(delivery, self._wait(delivery, answer))

    def _wait(self, delivery: _Delivery, answer: _Answer) -> float:
        planned = _SCHEDULE[min(delivery.attempts, len(_SCHEDULE)) - 1]
        return max(planned, _LEAST_WAIT.get(answer.status, 0)) * self._random.uniform(1, 1.2)

    def _dead_letter_reason(self, delivery: _Delivery, answer: _Answer) -> str:
        if answer.status in _NOT_RETRIED:
            return _NOT_RETRIED[answer.status]
        if delivery.attempts >= self._terms.most_attempts:
            return "MaxDeliveryAttemptsExceeded"
        age = (time.monotonic() - delivery.published) * self._terms.compression
        return "TimeToLiveExceeded" if age > self._terms.time_to_live else ""


def _dead_letter(delivery: _Delivery, answer: _Answer, reason: str) -> Event:
    now = datetime.now(UTC)
    published = datetime.fromtimestamp(now.timestamp() - (time.monotonic() - delivery.published), UTC)
    return {
        **delivery.event,
        "deadLetterReason": reason,
        "deliveryAttempts": delivery.attempts,
        "lastDeliveryOutcome": answer.outcome,
        "lastHttpStatusCode": answer.status,
        "publishTime": published.isoformat(),
        "lastDeliveryAttemptTime": now.isoformat(),
    }

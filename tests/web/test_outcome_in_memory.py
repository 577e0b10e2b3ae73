"""The outcome is read within its time, or is not available."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from threading import Event
from typing import Any

from model_release.errors import TemporaryError
from model_release.web.outcome import Outcomes
from tests.in_memory import CREATED, NOON, Process


class Answering:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def stages(self, *_: Any) -> Any:
        return self._answer()


def read(answer: Any, until: datetime | None = None, **options: Any) -> dict[str, Any]:
    claim = replace(Process().new().claim, release_id=CREATED.id)
    with ThreadPoolExecutor() as threads:
        outcomes = Outcomes(Answering(answer), threads, **options)  # type: ignore[arg-type]
        return outcomes.read([claim], until)[claim.key]


def fail() -> None:
    raise TemporaryError("Azure DevOps cannot be reached: connection refused")


def test_a_failure_is_the_problem() -> None:
    problem = "not available: Azure DevOps cannot be reached: connection refused"

    assert read(fail) == {"stages": [], "problem": problem}


def test_nothing_is_sent_during_a_pause() -> None:
    assert read(fail, until=NOON)["problem"] == "not available: Azure DevOps asked for a pause until 12:00:00 UTC"


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    released = Event()
    claim = replace(Process().new().claim, release_id=CREATED.id)
    with ThreadPoolExecutor() as threads:
        outcomes = Outcomes(Answering(released.wait), threads, seconds=0)  # type: ignore[arg-type]

        assert outcomes.read([claim], None)[claim.key]["problem"] == "not available: no answer within 0 s"
        released.set()


def test_a_claim_without_a_release_has_no_outcome() -> None:
    with ThreadPoolExecutor() as threads:
        assert Outcomes(Answering(fail), threads).read([Process().new().claim], None) == {}  # type: ignore[arg-type]

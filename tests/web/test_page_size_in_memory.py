"""Pages with fifty rows are small, because the Functions host does not compress them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import azure.functions as func
import pytest

from model_release.domain.claims import AttemptResult, State
from model_release.domain.events import parse
from model_release.domain.history import NOBODY, ByHand
from model_release.domain.retry import throttling
from model_release.domain.targets import Created, Target
from model_release.flow.manually import pinned, superseded
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin
from model_release.store.overview import Overview
from model_release.store.pending import LastSweep
from model_release.store.targets import Resolved
from model_release.web.outcome import Outcomes
from model_release.web.records import Records
from model_release.web.timers import Timers
from tests.in_memory import HOUR, MINUTE, NOON, WORKSPACE, Process, a_plan, event_body
from tests.proof.workers import Inline
from triggers import releases, targets

ROWS, MOST_BYTES = 50, 40_000
# A function key of Azure has 56 characters.
KEY = f"{'Zt0Qm3vXk2LrW9c-7uYbN1pJ_a5dGh' * 2:.54}=="
MODEL, ROUTE = "fraud_detection_model", "fraud models of production"
ADDRESS = "https://dev.azure.com/contoso/3f1a0d52-6c1b-4b7e-9f0a-2f6d1c9e8b77/_release?releaseId={}&_a=release-summary"
DENIED = (
    "VS402965: Access denied. Model Release needs Create releases permissions for Deploy fraud model to perform the "
    "action. For more information, contact the Azure DevOps Server administrator."
)
ROLLBACK = ByHand("anna@contoso.com", by_verified=True, comment="21 regressed on EU traffic", pins=True)
PIN = Pin("20", "", NOON, ROLLBACK.by, ROLLBACK.by_verified, ROLLBACK.comment)


def results(number: int, later: datetime) -> list[tuple[AttemptResult, ByHand]]:
    """Return how versions end on a bad day, and by whom they were started."""
    created = Created(number + 1, f"Release-{number + 1}", ADDRESS.format(number + 1))
    matched = f"route {ROUTE} matches {MODEL}:{number}"
    started = AttemptResult(State.STARTED, Reason(ReasonKind.ROUTE_MATCHED, matched), created=created)
    by_hand = Reason(ReasonKind.RESTARTED, f"pinned and restarted manually; {matched}")
    return [
        (started, NOBODY),
        (AttemptResult(State.REFUSED, Reason(ReasonKind.REFUSED, DENIED), later), NOBODY),
        (started, NOBODY),
        (AttemptResult(State.HELD, Reason(ReasonKind.PINNED, pinned(PIN)), later), NOBODY),
        (replace(started, reason=by_hand), ROLLBACK),
        (AttemptResult(State.WAITING, throttling(later), later), NOBODY),
        (superseded(str(number + 1)), NOBODY),
    ]


@pytest.fixture(scope="module")
def process() -> Process:
    """A history of fifty versions at as many targets; each that is pending was attempted twice."""
    process = Process()
    for number in range(ROWS):
        event = parse(event_body(str(number), MODEL))
        plan = replace(a_plan(Target("fraud", f"Deploy fraud model {number}")), route=ROUTE)
        outcomes = results(number, process.clock() + HOUR)
        result, who = outcomes[number % len(outcomes)]
        key = f"the-key-of-{number}" if who is ROLLBACK else ""
        new = process.claims.new(plan, event, Resolved(f"{number:016d}", 42), (), key, by_hand=who)
        claim, _ = process.claims.insert(new.claim)
        process.recorder.record(claim, result)
        process.later(HOUR)
        if not result.state.final:
            again = process.claims.acquire(process.claims.get(claim.partition, claim.row))
            process.recorder.record(again.claim, result)
    return process


def page(process: Process, name: str, **parameters: str) -> str:
    """Answer the request for a page as the host sends it."""
    overview = Overview(process.table, process.history, process.marks, process.clock)
    overview.update()
    last_sweep = LastSweep(process.table, process.clock)
    timers = Timers(frozenset([WORKSPACE]), last_sweep, process.cursors, 5 * MINUTE, process.clock)
    stages: Any = process.azure_devops
    records = Records(
        process.claims,
        process.history,
        overview,
        process.throttle,
        timers,
        process.clock,
        {"app": "0.1.0", "release_map": "0123456789ab"},
        Outcomes(stages, Inline()),
    )
    app = func.FunctionApp()
    targets.add_to(app, records)
    releases.add_to(app, process.start_release, records, signs_people_in=False)
    answer: Any = next(one for one in app.get_functions() if one.get_function_name() == name).get_user_function()
    request = func.HttpRequest("GET", f"https://app/api/{name}", params=parameters, body=b"")
    return str(answer(request).get_body().decode())


@pytest.mark.parametrize("name", ["targets", "releases"])
def test_a_page_with_fifty_rows_and_a_key_in_its_address_is_smaller_than_40_kb(process: Process, name: str) -> None:
    sent = page(process, name, code=KEY)

    assert sent.count("<tr") == ROWS + 1
    assert len(sent.encode()) < MOST_BYTES


def test_the_words_of_another_service_are_folded_below_a_sentence_and_need_a_person(process: Process) -> None:
    sent = page(process, "releases")

    refused = sent.count(f"<summary>Azure DevOps refused the request.</summary> <bdi>{DENIED}</bdi></details>")
    assert refused == sent.count(DENIED) == sent.count('class="person"') == 7

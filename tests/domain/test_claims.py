"""Claims: the states with their transitions, and the names of a claim."""

import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from types import SimpleNamespace

import pytest

from model_release.app import HOME
from model_release.domain.claims import (
    MEANING,
    TRANSITIONS,
    AttemptResult,
    Claim,
    RecordedVersion,
    State,
    claim_row,
    target_digest,
)
from model_release.domain.events import parse
from model_release.domain.lease import Lease
from model_release.domain.targets import ReleasePlan, Target
from model_release.flow.record import Recorder
from model_release.reason import Reason, ReasonKind
from model_release.store.claims import Claims
from model_release.store.targets import Resolved
from tests.environment import event

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLAN = ReleasePlan(
    target=Target("fraud", "Deploy"),
    route="*",
    newest_only=True,
    variables={},
    passes_version=False,
    manual_stages=(),
    description="",
)
LAST_STATES = {State.STARTED, State.SUPERSEDED, State.WITHDRAWN, State.ABANDONED, State.IGNORED}


def a_claim(state: State = State.STARTING, *siblings: str, idempotency_key: str = "") -> Claim:
    """Return a claim whose lease lasts for a minute from NOW, on definition 7."""
    lease = Lease(timedelta(minutes=1), timeout=timedelta(seconds=10))
    claims = Claims(SimpleNamespace(), lease=lease, clock=lambda: NOW)
    target = Resolved(target_digest(PLAN.target), 7)
    return replace(claims.new(PLAN, parse(event()), target, siblings, idempotency_key).claim, state=state)


def test_every_state_has_its_transitions_and_a_meaning() -> None:
    assert set(TRANSITIONS) == set(MEANING) == set(State)


def test_a_final_state_has_no_transitions() -> None:
    assert {state for state in State if state.final} == LAST_STATES
    assert {state for state, after in TRANSITIONS.items() if not after} == LAST_STATES


def test_every_state_of_a_claim_can_be_reached_and_an_ignored_event_has_no_claim() -> None:
    reached = {after for states in TRANSITIONS.values() for after in states}

    assert reached == set(State) - {State.IGNORED}


def test_the_state_diagram_in_the_documentation_has_exactly_these_transitions() -> None:
    document = (HOME / "docs/architecture.md").read_text()
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", document, re.DOTALL)
    arrows = re.findall(r"^ *(\S+) --> (\S+)$", diagram, re.MULTILINE)
    drawn = defaultdict(list)
    for before, after in arrows:
        if before != "[*]":
            drawn[State(before)].append(State(after))

    assert len(arrows) == diagram.count("-->")
    assert {state: sorted(after) for state, after in TRANSITIONS.items() if after} == {
        state: sorted(after) for state, after in drawn.items()
    }
    assert {after for before, after in arrows if before == "[*]"} == {State.STARTING, State.IGNORED}


@pytest.mark.parametrize("state", State)
def test_the_glossary_has_the_meaning_of_each_state(state: State) -> None:
    final = "yes" if state.final else "no"

    assert f"\n| `{state}` | {MEANING[state]} | {final} |\n" in (HOME / "docs/glossary.md").read_text()


def test_an_impossible_transition_is_refused_before_anything_is_written() -> None:
    nothing = SimpleNamespace()
    recorder = Recorder(nothing, nothing, nothing, nothing, clock=lambda: NOW)
    impossible = [(before, after) for before, after in product(State, State) if after not in TRANSITIONS[before]]

    for before, after in impossible:
        with pytest.raises(AssertionError, match=f"^{before} cannot become {after}$"):
            recorder.record(a_claim(before), AttemptResult(after, Reason(ReasonKind.NONE, "a reason")))
    assert (State.STARTED, State.WAITING) in impossible
    assert len(impossible) == 87


@pytest.mark.parametrize("state", State)
def test_a_request_may_be_in_flight_only_while_its_outcome_is_open(state: State) -> None:
    claim = replace(a_claim(state), in_flight_until=NOW)

    assert claim.in_flight(NOW - timedelta(seconds=1)) is (state in (State.STARTING, State.UNKNOWN))
    assert not claim.in_flight(NOW)


def test_the_marker_of_a_claim_is_its_own() -> None:
    claim, restart = a_claim(), a_claim(idempotency_key="a-key")

    assert re.fullmatch(r"\[model-release [0-9a-f]{32}-[0-9a-f]{16}\]", claim.marker)
    assert claim.key in claim.marker
    assert len({claim.marker, restart.marker, replace(claim, partition="claim of another model").marker}) == 3


def test_a_marker_cannot_be_known_before_its_claim() -> None:
    assert a_claim().marker != a_claim().marker


def test_a_restart_has_a_row_of_its_own() -> None:
    digest = target_digest(PLAN.target)

    assert claim_row("20", digest) == f"20 {digest}"
    assert claim_row("20", digest, "a-key") == f"20 {digest} a-key"


def test_a_recorded_version_lists_its_claimed_targets_and_their_siblings() -> None:
    others = target_digest(Target("risk", 42)), target_digest(Target("risk", "Run", "pipeline"))

    recorded = RecordedVersion((a_claim(State.STARTING, *others),), event())

    assert recorded.claimed == {target_digest(PLAN.target)}
    assert recorded.siblings == set(others)

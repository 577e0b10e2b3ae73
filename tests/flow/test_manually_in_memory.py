"""What a person starts: the refusals, and how an attempt ends that a pin or a person's start is in the way of."""

from dataclasses import replace

import pytest

from model_release.domain.claims import AttemptResult, State
from model_release.domain.history import ByHand
from model_release.domain.routing import NO_ROUTING, Routing
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.confirm import Confirmed, NotConfirmed
from model_release.flow.manually import (
    IDEMPOTENCY_KEY,
    confirmed_now,
    kept_back,
    not_routed,
    pin_or_refuse,
    refuse_if_pinned,
    superseded,
    unrecorded,
)
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin
from model_release.store.targets import Resolved
from tests.in_memory import HOUR, NOON, OTHER_TARGET, TARGET, WORKSPACE, Process, a_plan, an_event

PIN = Pin("19", "", NOON, "alice", comment="20 regressed")
PINNED = f"19 is pinned since {NOON:%Y-%m-%d %H:%M} UTC by alice: 20 regressed"


def test_an_idempotency_key_has_8_to_64_letters_digits_and_hyphens() -> None:
    for key in ("a-key-00", "x" * 64):
        assert IDEMPOTENCY_KEY.fullmatch(key)
    for key in ("x" * 7, "x" * 65, "a key-00", "a_key-00"):
        assert not IDEMPOTENCY_KEY.fullmatch(key)


def test_a_version_that_no_event_announced_has_no_event() -> None:
    event = unrecorded(WORKSPACE, "churn", "20")

    assert (event.id, event.body) == ("started manually: churn 20", "")
    assert (event.workspace, event.model, event.version) == (WORKSPACE, "churn", "20")


@pytest.mark.parametrize(("absent", "error"), [(True, RefusedError), (False, TemporaryError)])
def test_a_version_that_is_not_confirmed_is_not_started(error: type[Exception], *, absent: bool) -> None:
    answer = NotConfirmed(Reason(ReasonKind.NOT_REGISTERED, "missing"), absent=absent, fix="look")

    with pytest.raises(error, match="missing; look"):
        confirmed_now(lambda: answer)


def test_a_start_with_a_pin_goes_on_without_an_answer_but_not_against_it() -> None:
    recorded = Confirmed(an_event(), NO_ROUTING)
    unread, missing = (NotConfirmed(Reason(ReasonKind.NOT_REGISTERED, "no"), absent=absent) for absent in (False, True))

    assert confirmed_now(lambda: unread, recorded) == recorded
    with pytest.raises(RefusedError):
        confirmed_now(lambda: missing, recorded)


def test_a_refusal_names_the_targets_that_the_routes_lead_to_now() -> None:
    plans = tuple(a_plan(target) for target in (TARGET, OTHER_TARGET))
    now = Confirmed(an_event(), Routing(plans, Reason(ReasonKind.NONE, "")), "matched with the tags (none)")

    refusal = not_routed(TARGET._replace(definition="gone"), now)

    routes = f"no route for churn:20 leads to p/gone now: its routes lead to {TARGET}, {OTHER_TARGET}"
    assert str(refusal) == (
        f"{routes}; matched with the tags (none); change the release map and deploy it, or change the tags in Azure ML"
    )


def test_a_pin_holds_a_registered_version_and_withdraws_a_start_with_another_pin() -> None:
    process = Process()
    registered, start = process.new("20").claim, process.new("20", "a-key").claim

    held = AttemptResult(State.HELD, Reason(ReasonKind.PINNED, PINNED), NOON + HOUR)
    assert kept_back(registered, PIN, NOON) == held
    assert kept_back(start, PIN, NOON) == AttemptResult(State.WITHDRAWN, Reason(ReasonKind.PIN_REPLACED, PINNED))
    removed = Reason(ReasonKind.PIN_REMOVED, "the pin of 20 was removed")
    assert kept_back(start, None, NOON) == AttemptResult(State.WITHDRAWN, removed)


def test_a_superseded_version_names_the_one_that_was_sent_and_how() -> None:
    by_hand, newer = (
        Reason(ReasonKind.SENT_MANUALLY, "version 21 was sent manually"),
        Reason(ReasonKind.NEWER_SENT, "version 21 was sent first"),
    )

    assert superseded("21", manually=True) == AttemptResult(State.SUPERSEDED, by_hand)
    assert superseded("21") == AttemptResult(State.SUPERSEDED, newer)


def test_a_start_is_pinned_only_where_azure_devops_has_resolved_the_target() -> None:
    process = Process()
    claim = process.claims.update(inserted := process.inserted(), replace(inserted, state=State.STARTED))
    who = ByHand("alice", pins=True)

    with pytest.raises(RefusedError) as refused:
        pin_or_refuse(claim, "a-key-00", who, process.recorder, Resolved(claim.target_digest))

    assert str(refused.value) == "Azure DevOps has never resolved p/train; start the version without a pin first"
    assert process.marks.pin(claim.partition, claim.target_digest) is None


def test_only_the_start_that_a_pin_names_is_not_refused() -> None:
    process = Process()
    start, other = process.inserted("19", "a-key-00"), process.inserted("20")
    process.marks.set_pin(start.partition, start.target_digest, replace(PIN, start=start.row))

    refuse_if_pinned(start, process.recorder)
    with pytest.raises(RefusedError) as refused:
        refuse_if_pinned(other, process.recorder)

    assert str(refused.value) == f"{PINNED}; remove the pin with `unpin`, or move it: start this version with a pin"

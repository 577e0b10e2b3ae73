"""Claims and results as they are without optional values."""

import hashlib
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from model_release.domain.claims import NEVER, AttemptResult, Claim, RecordedVersion, State, claim_key, digest
from model_release.reason import Reason, ReasonKind
from tests.in_memory import NOON, Process


def optional(kind: type[Any], /, **required: Any) -> dict[str, Any]:
    one = kind(**required)
    return {field.name: getattr(one, field.name) for field in fields(kind) if field.name not in required}


def test_never_is_the_beginning_of_the_clock() -> None:
    assert datetime.fromtimestamp(0, UTC) == NEVER


def test_a_claim_is_at_its_first_attempt_and_has_created_nothing() -> None:
    claim = Process().new().claim
    names = [field.name for field in fields(Claim)]
    required = {name: getattr(claim, name) for name in names[: names.index("attempt")]}

    assert optional(Claim, **required) == {
        "attempt": 1,
        "worker": "",
        "nonce": "",
        "next_attempt": NEVER,
        "reason": "",
        "reason_kind": ReasonKind.NONE,
        "release_id": 0,
        "release_name": "",
        "release_url": "",
        "idempotency_key": "",
        "by": "",
        "by_verified": False,
        "comment": "",
        "pins": False,
        "pinned_until": NEVER,
        "newest_only": False,
        "sibling_targets": "",
        "trace_parent": "",
        "attempts": (),
        "etag": "",
    }


def test_a_result_has_created_nothing_and_is_not_repeated() -> None:
    assert optional(AttemptResult, state=State.WAITING, reason=Reason(ReasonKind.NONE, "why")) == {
        "next_attempt": NEVER,
        "created": None,
        "in_flight_until": None,
        "instead": (),
        "unavailable": False,
        "absent": False,
    }


def test_a_recorded_version_is_not_ignored() -> None:
    assert RecordedVersion((), "").ignored is None


def test_a_request_is_in_flight_until_its_time() -> None:
    claim = replace(Process().new().claim, in_flight_until=NOON)

    assert not claim.in_flight(NOON)


def test_the_names_of_stored_claims_do_not_change() -> None:
    assert claim_key("p", "r") == hashlib.sha256(b"p\nr").hexdigest()[:32]
    assert digest("text") == hashlib.sha256(b"text").hexdigest()[:16]

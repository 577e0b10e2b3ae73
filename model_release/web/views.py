"""The history and model versions as plain values, the same for the pages and for JSON (pure)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from model_release.domain.claims import NEVER, Attempt, Claim, RecordedVersion, State
from model_release.domain.events import ModelRegistered, read_json
from model_release.domain.history import HistoryEntry, HistoryPage
from model_release.domain.routing import Match
from model_release.flow.steer import LineNow
from model_release.reason import ReasonKind
from model_release.store.high_water_mark import Pin
from model_release.store.pending import Due, Line
from model_release.web.advice import NEEDS_PERSON, advice

# The pin and the pending rows of each line, by the digest of the target.
Lines = Mapping[str, tuple[Pin | None, Line]]


class ModelVersionDetail(NamedTuple):
    """All that is recorded of one model version, and how the routes of the release map match it now."""

    registered: ModelRegistered
    recorded: RecordedVersion
    matches: tuple[Match, ...]


def history(page: HistoryPage, operations_url: str) -> dict[str, Any]:
    """Show a page of the history; `continuation` is null at the end."""
    return {"entries": [entry(one, operations_url) for one in page.entries], "continuation": page.continuation or None}


def entry(one: HistoryEntry, operations_url: str = "") -> dict[str, Any]:
    """Show one entry of the history; its advice links to the page of this address."""
    model, version = one.model_version
    return {
        "time": time_text(one.time),
        "received": time_text(one.received if one.received > NEVER else one.time),
        "subject": one.subject,
        "model": model or None,
        "version": version or None,
        "workspace": one.workspace or None,
        **_why(one.state, one.reason_kind, one.reason, operations_url),
        "target": one.target or None,
        "definition_id": one.definition_id or None,
        "route": one.route or None,
        "manual": one.restart,
        "attempt": one.attempt,
        "next_attempt": _next_attempt(one),
        "release": _release(one),
        "event_id": one.event_id,
        **_who(one),
    }


def detail(one: ModelVersionDetail, lines: Lines, operations_url: str) -> dict[str, Any]:
    """Show all that is recorded of a model version, and the pins and pending versions of its lines."""
    ignored = one.recorded.ignored
    return {
        "workspace": one.registered.workspace.id,
        "model": one.registered.model,
        "version": one.registered.version,
        "ignored": _why(State.IGNORED, ignored.kind, ignored.text, operations_url) if ignored else None,
        "claims": [claim(one, *lines[one.target_digest], operations_url) for one in one.recorded.claims],
        "routes": routes(one.matches),
        "event": read_json(one.recorded.event),
    }


def claim(one: Claim, pinned: Pin | None, pending: Line, operations_url: str) -> dict[str, Any]:
    """Show the claim of a model version on one target, and the newer versions that are pending there."""
    newer = [row for row in pending if _is_newer(row, one)]
    return {
        "claim": one.key,
        "target": str(one.target),
        "definition_id": one.definition_id or None,
        "route": one.route,
        "created": time_text(one.created),
        "event_id": one.event_id,
        "idempotency_key": one.idempotency_key or None,
        **_why(one.state, one.reason_kind, one.reason, operations_url),
        "final": one.state.final,
        "restart": bool(one.idempotency_key),
        "attempt": one.attempt,
        "next_attempt": _next_attempt(one),
        "release": _release(one),
        "attempts": [_attempt(attempt) for attempt in one.attempts],
        # The stages in Azure DevOps, for those who ask for them.
        "outcome": None,
        **_who(one),
        "pins": one.pins,
        "pin": pin(pinned),
        "newer": [{"version": row.version, "state": row.state.value} for row in newer],
    }


def line(one: LineNow) -> dict[str, Any]:
    """Show a model at a target: what was started last, its pin, and what is pending."""
    return {
        "workspace": one.newest.workspace,
        "model": one.newest.model,
        "target": str(one.newest.target),
        "version": one.out.version if one.out else None,
        "started": time_text(one.out.attempts[-1].time) if one.out else None,
        "release": _release(one.out) if one.out else None,
        "pin": pin(one.pin),
        "is_kept": one.is_kept,
        "pending": [
            {"version": claim.version, "state": claim.state.value, "manually": bool(claim.idempotency_key)}
            for claim in one.pending
        ],
    }


def pin(one: Pin | None) -> dict[str, Any] | None:
    """Show a pin."""
    return {"version": one.version, "since": since(one), **_who(one)} if one else None


def since(one: Pin | None) -> str:
    """Show when a pin was set, empty without a pin."""
    return time_text(one.since) if one else ""


def routes(matches: Iterable[Match]) -> list[dict[str, Any]]:
    """Show how each route matches a model version."""
    return [{"route": one.route.title, "matches": one.matches, "reason": one.reason} for one in matches]


def source_name(resource_id: str) -> str:
    """Return the name in the resource ID of a workspace or registry, as a page shows it."""
    kind, _, name = resource_id.rpartition("/")
    return f"registry {name}" if kind.endswith("/registries") else name


def _why(state: State, kind: ReasonKind, reason: str, operations_url: str) -> dict[str, Any]:
    """Show a state with its reason, and what a person does about it."""
    about = advice(state, kind)
    return {
        "state": state.value,
        "reason": reason,
        "reason_kind": kind.value or None,
        "advice": {
            "sentence": about.sentence,
            "do": about.do,
            "section": about.address(),
            "url": about.address(operations_url) if operations_url else None,
            "foreign": about.foreign,
            "needs_person": state in NEEDS_PERSON,
        },
    }


def _attempt(one: Attempt) -> dict[str, Any]:
    return {"attempt": one.number, "time": time_text(one.time), "state": one.state.value, "reason": one.reason}


def _is_newer(row: Due, than: Claim) -> bool:
    if row.version.isdecimal() and than.version.isdecimal():
        return int(row.version) > int(than.version)
    return row.row != than.row and row.created > than.created


def _who(one: Claim | HistoryEntry | Pin) -> dict[str, Any]:
    return {"by": one.by or None, "by_verified": one.by_verified, "comment": one.comment or None}


def _release(one: Claim | HistoryEntry) -> dict[str, Any] | None:
    if not one.release_id:
        return None
    return {"id": one.release_id, "name": one.release_name, "url": one.release_url}


def _next_attempt(one: Claim | HistoryEntry) -> str | None:
    return None if one.state.final or one.next_attempt == NEVER else time_text(one.next_attempt)


def time_text(time: datetime) -> str:
    """Write a time as the API does."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")

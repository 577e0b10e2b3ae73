"""The overview as plain values, the same for the page and for JSON (pure)."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from model_release.domain.claims import State
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.store.overview import OverviewLine
from model_release.web.advice import NEEDS_PERSON
from model_release.web.views import entry, pin, time_text

# What a line has, the most urgent first.
_ATTENTION = ("person", "pending", "held", "pinned")
_COUNTED = (State.REFUSED, State.ABANDONED, State.UNKNOWN, State.WAITING, State.HELD)


def targets(lines: Iterable[OverviewLine], query: HistoryQuery, operations_url: str) -> dict[str, Any]:
    """Show the lines of a query, the most urgent first; `continuation` is the number of those before the next page."""
    ordered = sorted((line for line in lines if _is_wanted(line, query)), key=_urgency)
    first = int(query.continuation or 0)
    after = first + query.limit
    return {
        "targets": [_target(line, operations_url) for line in ordered[first:after]],
        "continuation": str(after) if len(ordered) > after else None,
    }


def attention(
    lines: Iterable[OverviewLine], throttled_until: datetime | None, problems: Iterable[str]
) -> dict[str, Any]:
    """Count what needs attention on all lines."""
    lines = tuple(lines)
    states = Counter(one.state for line in lines for one in line.others.values())
    return {
        "counts": {state.value: states[state] for state in _COUNTED},
        "pinned": sum(line.pin is not None for line in lines),
        "pins_waiting": sum(line.pin_waits for line in lines),
        "throttled_until": time_text(throttled_until) if throttled_until else None,
        "problems": list(problems),
    }


def _is_wanted(line: OverviewLine, query: HistoryQuery) -> bool:
    states = {one.state for one in line.others.values()}
    is_open = any(not state.final for state in states)
    return (
        query.matches(line.last)
        and (query.state is None or query.state in states)
        and (is_open or not query.open_only)
        and (line.pin is not None or not query.pinned)
    )


def _attention(line: OverviewLine) -> str:
    states = {one.state for one in line.others.values()}
    found = {
        "person": line.pin_waits or not states.isdisjoint(NEEDS_PERSON),
        "pending": not states <= {State.HELD},
        "held": bool(states),
        "pinned": line.pin is not None,
    }
    return next((one for one in _ATTENTION if found[one]), "")


def _urgency(line: OverviewLine) -> tuple[int, float, str]:
    has = _attention(line)
    return (_ATTENTION.index(has) if has else len(_ATTENTION), -line.last.time.timestamp(), line.id)


def _target(line: OverviewLine, operations_url: str) -> dict[str, Any]:
    names, shown = line.last, pin(line.pin)
    return {
        "workspace": names.workspace,
        "model": names.model_version[0],
        "target": names.target,
        "attention": _attention(line) or None,
        "started": entry(line.started, operations_url) if line.started else None,
        "pin": shown and {**shown, "waits": line.pin_waits},
        "others": [entry(one, operations_url) for one in sorted(line.others.values(), key=_newest_version)],
    }


def _newest_version(one: HistoryEntry) -> tuple[float, float]:
    version = one.model_version[1]
    return (-int(version) if version.isdecimal() else 0, -one.time.timestamp())

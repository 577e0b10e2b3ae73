"""Read a query of the history or of the overview from the parameters of a request (pure)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from model_release.domain.claims import State
from model_release.domain.history import HistoryQuery
from model_release.text import shorten

FILTERS = ("model", "target", "workspace", "state", "since", "until", "ignored")
TARGET_FILTERS = ("model", "target", "workspace", "state", "pinned")
OPEN = "open"
_PAGING = ("continuation", "limit", "refresh")
# The platform's: a key, and the name of a key.
_OF_THE_HOST = ("code", "clientId")
_HIGHEST_LIMIT = 200
_DAY_CHARACTERS = len("2026-11-20")
_TIME = "a day such as 2026-11-20 or a time such as 2026-11-20T18:41:00Z"
_PART = "a part of a name, or a pattern with '*', of at most 255 printable characters"


def read_query(parameters: Mapping[str, str], filters: tuple[str, ...] = FILTERS) -> HistoryQuery:
    """Read the parameters; `until` includes a whole day. Raises ValueError with every problem."""
    values: dict[str, Any] = {}
    names = (*filters, *_PAGING)
    problems = [
        f"{shorten(name)}: unknown parameter; expected one of {', '.join(names)}"
        for name in parameters
        if name not in (*names, *_OF_THE_HOST)
    ]
    for name in names:
        read, expected = _PARAMETERS[name]
        text = parameters.get(name, "").strip()
        try:
            if text:
                values[name] = read(text)
        except (ValueError, LookupError, OverflowError):
            problems.append(f"{name}: {shorten(text)!r} is not {expected}")
    if problems:
        raise ValueError("; ".join(problems))
    values.pop("refresh", None)
    if values.get("state") == OPEN:
        values |= {"state": None, "open_only": True}
    return HistoryQuery(**values)


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return read


def _part(text: str) -> str:
    if not (text.isprintable() and len(text) <= 255):  # noqa: PLR2004  as Azure limits its longest names
        raise ValueError
    return text


def _state(text: str) -> State | str:
    return text if text == OPEN else State(text)


def _begin(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _end(text: str) -> datetime:
    return _begin(text) + timedelta(days=len(text) <= _DAY_CHARACTERS)


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= limit <= _HIGHEST_LIMIT:
        raise ValueError
    return limit


_YES_OR_NO = ({"yes": True, "no": False}.__getitem__, "'yes' or 'no'")
# What reads each parameter, or fails because the text is not what is expected.
_PARAMETERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "model": (_part, _PART),
    "target": (_part, _PART),
    "workspace": (_part, _PART),
    "state": (_state, f"one of {OPEN}, {', '.join(State)}"),
    "since": (_begin, _TIME),
    "until": (_end, _TIME),
    "ignored": _YES_OR_NO,
    "pinned": _YES_OR_NO,
    "refresh": _YES_OR_NO,
    "continuation": (_matching(r"[0-9]{16} [0-9a-f]{32}|[0-9]{1,6}"), "the `continuation` of an answer"),
    "limit": (_limit, f"a whole number from 1 to {_HIGHEST_LIMIT}"),
}

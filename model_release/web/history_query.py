"""Read a history query from the parameters of a request (pure)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from model_release.domain.claims import State
from model_release.domain.events import NAME
from model_release.domain.history import HistoryQuery
from model_release.text import shorten

_HIGHEST_LIMIT = 200
_DAY_CHARACTERS = len("2026-11-20")
_TIME = "a day such as 2026-11-20 or a time such as 2026-11-20T18:41:00Z"


def read_query(parameters: Mapping[str, str]) -> HistoryQuery:
    """Read the parameters; `until` includes a whole day. Raises ValueError with every problem."""
    values: dict[str, Any] = {}
    problems = []
    for name, (read, expected) in _PARAMETERS.items():
        text = parameters.get(name, "").strip()
        try:
            if text:
                values[name] = read(text)
        except (ValueError, LookupError, OverflowError):
            problems.append(f"{name}: {shorten(text)!r} is not {expected}")
    if problems:
        raise ValueError("; ".join(problems))
    return HistoryQuery(**values)


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return read


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


# What reads each parameter, or fails because the text is not what is expected.
_PARAMETERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "model": (_matching(rf"\*|{NAME.pattern}\*?"), "the name of a model, or the beginning of one followed by '*'"),
    "state": (State, f"one of {', '.join(State)}"),
    "since": (_begin, _TIME),
    "until": (_end, _TIME),
    "ignored": ({"yes": True, "no": False}.__getitem__, "'yes' or 'no'"),
    "continuation": (_matching(r"[0-9]{16} [0-9a-f]{32}"), "the `continuation` of an answer"),
    "limit": (_limit, f"a whole number from 1 to {_HIGHEST_LIMIT}"),
}

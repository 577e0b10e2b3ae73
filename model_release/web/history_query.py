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
_CONTINUATION = re.compile(r"\d{16} [0-9a-f]{32}")
_DAY_CHARACTERS = len("2026-11-20")


def read_query(parameters: Mapping[str, str]) -> HistoryQuery:
    """Read the parameters; `until` includes a whole day. Raises ValueError with every problem."""
    problems: list[str] = []

    def get(name: str, read: Callable[[str], Any], default: Any = None) -> Any:
        text = parameters.get(name, "").strip()
        try:
            return read(text) if text else default
        except ValueError as error:
            problems.append(f"{name}: {error}")
            return default

    query = HistoryQuery(
        model=get("model", _model, ""),
        state=get("state", _state),
        since=get("since", lambda text: _period(text)[0]),
        until=get("until", lambda text: _period(text)[1]),
        ignored=get("ignored", _yes_or_no, HistoryQuery.ignored),
        continuation=get("continuation", _continuation, ""),
        limit=get("limit", _limit, HistoryQuery.limit),
    )
    if problems:
        raise ValueError("; ".join(problems))
    return query


def _period(text: str) -> tuple[datetime, datetime]:
    """Return the begin and the end of a day, or of a moment."""
    try:
        moment = datetime.fromisoformat(text)
        begin = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return begin, begin + timedelta(days=len(text) <= _DAY_CHARACTERS)
    except (ValueError, OverflowError) as error:
        example = "a day such as 2026-11-20 or a time such as 2026-11-20T18:41:00Z"
        raise ValueError(f"{shorten(text)!r} is not {example}") from error


def _model(text: str) -> str:
    if text != "*" and not NAME.fullmatch(text.removesuffix("*")):
        raise ValueError(f"{shorten(text)!r} is not the name of a model, or the beginning of one followed by '*'")
    return text


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as error:
        raise ValueError(f"{shorten(text)!r} is not one of {', '.join(State)}") from error


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{shorten(text)!r} is not 'yes' or 'no'")
    return text == "yes"


def _continuation(text: str) -> str:
    if not _CONTINUATION.fullmatch(text):
        raise ValueError(f"{shorten(text)!r} is not the `continuation` of an answer")
    return text


def _limit(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or not 1 <= int(text) <= _HIGHEST_LIMIT:
        raise ValueError(f"{shorten(text)!r} is not a whole number from 1 to {_HIGHEST_LIMIT}")
    return int(text)

"""The history: one line for each decision, the newest first, kept for 90 days.

| partition | row | for |
|---|---|---|
| `recent` | newest first | the line of a claim |
| `ignored` | newest first | the line of an event that started nothing |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from azure.data.tables import TableEntity

from model_release.domain.claims import Decision, State
from model_release.domain.events import NAME, shorten
from model_release.store.table import Table

KEEP = timedelta(days=90)
_RECENT = "recent"
_IGNORED = "ignored"
_PRUNED_AT_ONCE = 100
_LAST = 10**16 - 1
_MOST_LINES = 200
_PLACE = re.compile(r"\d{16} [0-9a-f]{32}")
_DAY_CHARACTERS = len("2026-11-20")


@dataclass(frozen=True)
class Wanted:
    """Which lines; a model ending with `*` stands for all that begin so, and `place` is where a page begins."""

    model: str = ""
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None
    ignored: bool = False
    place: str = ""
    count: int = 50

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> Wanted:
        """Read the words of a request; a day is meant whole. Raises ValueError with every fault."""
        faults: list[str] = []

        def take(name: str, read: Callable[[str], Any], default: Any = None) -> Any:
            text = asked.get(name, "").strip()
            try:
                return read(text) if text else default
            except ValueError as error:
                faults.append(f"{name}: {error}")
                return default

        wanted = cls(
            model=take("model", _model, ""),
            state=take("state", _state),
            since=take("since", lambda text: _moment(text)[0]),
            until=take("until", lambda text: _moment(text)[1]),
            ignored=take("ignored", _yes_or_no, cls.ignored),
            place=take("place", _place, ""),
            count=take("count", _count, cls.count),
        )
        if faults:
            raise ValueError("; ".join(faults))
        return wanted


@dataclass(frozen=True)
class Page:
    """Some lines, and the place where the older ones begin, empty at the end."""

    decisions: tuple[Decision, ...]
    older: str


class History:
    """The lines; every method raises azure-core's errors when storage fails."""

    def __init__(self, table: Table, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock

    def note(self, decision: Decision, key: str) -> None:
        """Write a line, or write it anew."""
        partition = _IGNORED if decision.state is State.IGNORED else _RECENT
        values = asdict(decision)
        del values["milliseconds"]
        self._table.put(partition, f"{_newest_first(decision.when)} {key}", **values)

    def page(self, wanted: Wanted = Wanted()) -> Page:
        """The newest lines that are wanted."""
        count = wanted.count
        lines = sorted(line for partition in _partitions(wanted) for line in self._read(partition, wanted))
        decisions = tuple(decision for _, decision in lines[:count])
        return Page(decisions, older=lines[count][0] if len(lines) > count else "")

    def prune(self) -> None:
        """Take the oldest lines, at most 100 of each partition at once, away when their time is over."""
        for partition in (_RECENT, _IGNORED):
            rows = self._table.query(
                "PartitionKey eq @partition and RowKey gt @oldest",
                partition=partition,
                oldest=_newest_first(self._clock() - KEEP),
                select=["PartitionKey", "RowKey"],
                results_per_page=_PRUNED_AT_ONCE,
            )
            if old := [("delete", dict(row)) for row in islice(rows, _PRUNED_AT_ONCE)]:
                self._table.client.submit_transaction(old)

    def _read(self, partition: str, wanted: Wanted) -> list[tuple[str, Decision]]:
        condition, parameters = _condition(wanted)
        # The one more is where the older ones begin.
        count = wanted.count + 1
        rows = self._table.query(
            f"PartitionKey eq @partition{condition}", partition=partition, results_per_page=count, **parameters
        )
        return [(row["RowKey"], _decision(row)) for row in islice(rows, count)]


def _partitions(wanted: Wanted) -> tuple[str, ...]:
    if wanted.state is State.IGNORED:
        return (_IGNORED,)
    return (_RECENT, _IGNORED) if wanted.ignored and not wanted.state else (_RECENT,)


def _condition(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    conditions: dict[str, Any] = {}
    if wanted.place:
        conditions["RowKey ge @place"] = wanted.place
    if wanted.until:
        conditions["RowKey ge @until"] = _newest_first(wanted.until)
    if wanted.since:
        conditions["RowKey le @since"] = f"{_newest_first(wanted.since)}~"
    if wanted.state:
        conditions["state eq @state"] = wanted.state.value
    if wanted.model:
        name = f"models/{wanted.model.removesuffix('*')}"
        conditions["subject ge @first"] = name if wanted.model.endswith("*") else f"{name}:"
        # The least text that is above all that begin so: no model's name has a character above these.
        conditions["subject lt @last"] = f"{name}~" if wanted.model.endswith("*") else f"{name};"
    names = {condition.rpartition("@")[2]: value for condition, value in conditions.items()}
    return "".join(f" and {condition}" for condition in conditions), names


def _moment(text: str) -> tuple[datetime, datetime]:
    """When a day or a moment begins and ends."""
    try:
        moment = datetime.fromisoformat(text)
        begin = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return begin, begin + timedelta(days=len(text) <= _DAY_CHARACTERS)
    except (ValueError, OverflowError) as error:
        msg = f"{shorten(text)!r} is neither a day such as 2026-11-20 nor a time such as 2026-11-20T18:41:00Z"
        raise ValueError(msg) from error


def _model(text: str) -> str:
    if text != "*" and not NAME.fullmatch(text.removesuffix("*")):
        msg = f"{shorten(text)!r} is not a model's name, nor the beginning of one with '*' behind it"
        raise ValueError(msg)
    return text


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as error:
        msg = f"{shorten(text)!r} is none of {', '.join(State)}"
        raise ValueError(msg) from error


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        msg = f"{shorten(text)!r} is neither yes nor no"
        raise ValueError(msg)
    return text == "yes"


def _place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        msg = f"{shorten(text)!r} is not what an answer gave as `older`"
        raise ValueError(msg)
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or not 1 <= int(text) <= _MOST_LINES:
        msg = f"{shorten(text)!r} is not a whole number from 1 to {_MOST_LINES}"
        raise ValueError(msg)
    return int(text)


def _newest_first(time: datetime) -> str:
    return f"{min(max(_LAST - int(time.timestamp() * 1_000_000), 0), _LAST):016d}"


def _decision(row: TableEntity) -> Decision:
    names = {field.name for field in fields(Decision)}
    return Decision(**{name: value for name, value in row.items() if name in names} | {"state": State(row["state"])})

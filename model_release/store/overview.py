"""The overview: the version that was started last on each line, its pin, and what is open or needs a person.

| partition | row | for |
|---|---|---|
| `overview` | `overview` | all lines, compressed, and until when the history was read |

The sweep brings it up to date from the history: attempts and requests do not write it.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import CLOCK_DIFFERENCE, NEVER, State, claim_key
from model_release.domain.history import HistoryEntry
from model_release.reason import ReasonKind
from model_release.store.claims import Clock
from model_release.store.high_water_mark import HighWaterMarks, Pin
from model_release.store.history import KEEP, History
from model_release.store.table import Table, join, split

_OVERVIEW = "overview"
# A row holds 1 MB. https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
MOST_LINES = 10_000
_REASON_CHARACTERS = 500


@dataclass(frozen=True)
class OverviewLine:
    """What is known of one model and target.

    `id` is the partition and the row of its high-water mark. `last` is the entry that changed last. `started` is the
    one that was started last, of the claim `started_key`. `others` are, by the claims' keys, those that are not final,
    and those that were abandoned later than that.
    """

    id: str
    last: HistoryEntry
    started: HistoryEntry | None = None
    started_key: str = ""
    others: Mapping[str, HistoryEntry] = field(default_factory=dict)
    pin: Pin | None = None

    @property
    def pin_waits(self) -> bool:
        """Whether the start of the pinned version is not out yet."""
        if not self.pin or not self.pin.start:
            return False
        return self.started_key != claim_key(self.id.rpartition(" ")[0], self.pin.start)


class Overview:
    """The lines; every method raises azure-core's errors if storage fails."""

    def __init__(
        self, table: Table, history: History, marks: HighWaterMarks, clock: Clock, *, most_lines: int = MOST_LINES
    ) -> None:
        """Take the number of lines that one row holds; of more, those that changed last are kept."""
        self._table = table
        self._history = history
        self._marks = marks
        self._clock = clock
        self._most_lines = most_lines

    def read(self) -> tuple[OverviewLine, ...]:
        """Read all lines, in no order."""
        return tuple(self._read()[0].values())

    def update(self) -> None:
        """Read what has changed in the history since the last time, unless another process does it now."""
        lines, read_until, etag = self._read()
        late = self._history.late()
        changes = list(self._history.changed(read_until - CLOCK_DIFFERENCE if etag else NEVER, late))
        after = self._with_pins(applied(lines, changes), {entry.line for _, entry in changes if _concerns_pin(entry)})
        if after != lines or not etag:
            with suppress(ResourceExistsError, ResourceModifiedError):
                self._write(after, self._last(changes, read_until), etag)
        self._history.forget_late(late)

    def rebuild(self) -> int:
        """Build all lines from the history and the pins, and return how many there are.

        What is older than the history is kept. Raises ResourceModifiedError if another process writes meanwhile.
        """
        before, _, etag = self._read()
        changes = list(self._history.changed(NEVER))
        oldest = self._clock() - KEEP
        kept = [pair for line in before.values() for pair in _entries(line) if pair[1].time <= oldest]
        lines = applied({}, [*kept, *changes])
        self._write(self._with_pins(lines, lines), self._last(changes, NEVER), etag)
        return len(lines)

    def _last(self, changes: Iterable[tuple[str, HistoryEntry]], otherwise: datetime) -> datetime:
        # Another process's clock may be ahead.
        return max((min(entry.time, self._clock()) for _, entry in changes), default=otherwise)

    def _with_pins(self, lines: Mapping[str, OverviewLine], asked: Iterable[str]) -> dict[str, OverviewLine]:
        pinned = {line.id for line in lines.values() if line.pin}
        pins = {one: self._marks.pin(*_mark(one)) for one in pinned | set(asked) if one in lines}
        return {one: replace(line, pin=pins.get(one, line.pin)) for one, line in lines.items()}

    def _read(self) -> tuple[dict[str, OverviewLine], datetime, str]:
        row = self._table.find(_OVERVIEW, _OVERVIEW)
        if row is None:
            return {}, NEVER, ""
        lines = [_line(values) for values in json.loads(join(row))]
        return {line.id: line for line in lines}, row["read_until"], str(row.metadata["etag"])

    def _write(self, lines: Mapping[str, OverviewLine], read_until: datetime, etag: str) -> None:
        newest = sorted(lines.values(), key=lambda line: line.last.time, reverse=True)[: self._most_lines]
        text = json.dumps([asdict(line) for line in newest], default=datetime.isoformat)
        values = {**split({"event": text}), "read_until": read_until}
        if etag:
            self._table.change(_OVERVIEW, _OVERVIEW, etag, **values)
        else:
            self._table.insert(_OVERVIEW, _OVERVIEW, **values)


def applied(lines: Mapping[str, OverviewLine], changes: Iterable[tuple[str, HistoryEntry]]) -> dict[str, OverviewLine]:
    """Return the lines after these changes, in whichever order they come (pure)."""
    after = dict(lines)
    for key, entry in changes:
        if entry.line:
            short = replace(entry, reason=entry.reason[:_REASON_CHARACTERS])
            after[entry.line] = _after(after.get(entry.line) or OverviewLine(entry.line, short), key, short)
    return after


def _after(line: OverviewLine, key: str, entry: HistoryEntry) -> OverviewLine:
    line = replace(line, last=max(line.last, entry, key=lambda one: one.time))
    known = line.others.get(key) or (line.started if key == line.started_key else None)
    # What a person did has no attempt.
    if not entry.attempt or (known and known.time > entry.time):
        return line
    others = {other: one for other, one in line.others.items() if other != key}
    started, started_key = line.started, line.started_key
    if entry.state is State.STARTED:
        if started is None or started.time <= entry.time:
            started, started_key = entry, key
    elif not entry.state.final or entry.state is State.ABANDONED:
        others[key] = entry
    since = started.time if started else NEVER
    others = {other: one for other, one in others.items() if not one.state.final or one.time > since}
    return replace(line, started=started, started_key=started_key, others=others)


def _concerns_pin(entry: HistoryEntry) -> bool:
    """Whether a person acted, or was in the way: registered versions do not set, move or lift a pin."""
    return entry.restart or not entry.attempt or entry.state is State.HELD


def _entries(line: OverviewLine) -> list[tuple[str, HistoryEntry]]:
    started = [(line.started_key, line.started)] if line.started else []
    return [*started, *line.others.items()]


def _mark(line: str) -> tuple[str, str]:
    partition, _, row = line.rpartition(" ")
    return partition, row


def _line(values: dict[str, Any]) -> OverviewLine:
    pin = values["pin"]
    return OverviewLine(
        **values
        | {
            "last": _entry(values["last"]),
            "started": _entry(values["started"]) if values["started"] else None,
            "others": {key: _entry(one) for key, one in values["others"].items()},
            "pin": Pin(**pin | {"since": datetime.fromisoformat(pin["since"])}) if pin else None,
        }
    )


def _entry(values: dict[str, Any]) -> HistoryEntry:
    times = {name: datetime.fromisoformat(values[name]) for name in ("time", "next_attempt", "received")}
    kind = ReasonKind(values["reason_kind"])
    return HistoryEntry(**values | times | {"state": State(values["state"]), "reason_kind": kind})

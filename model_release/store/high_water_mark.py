"""High-water marks: the newest version of a model that was sent to a target, and the request that may be in flight.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `TARGET` | version, and the row of the claim that brought it |
| | | the row of the claim that may have a request in flight, and until when |
| | | the pin: version, the row of the claim of its start, who set it, when and why |
| | the row of the claim that is started first since a pin was removed |

A claim writes itself into the mark before its request is sent. The write is conditional and follows a read of the claim
in the mark, so at most one request is in flight. The version only grows, and so does the time of one claim. A target
with another order has a row for its pin only.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import NEVER, Claim, State
from model_release.store.claims import Claims, Clock
from model_release.store.table import Table


@dataclass(frozen=True)
class Pin:
    """A person's choice that a version stays; `start` is the row of the start's claim, empty without a start."""

    version: str
    start: str
    since: datetime
    by: str = ""
    by_verified: bool = False
    comment: str = ""


class Mark(NamedTuple):
    """A high-water mark; `brought_by`, `in_flight` and `first` are rows of claims, `version` is empty if none was sent.

    No registered version that is older than that of `first` is sent while `first` is pending, unless it was refused.
    """

    version: str = ""
    brought_by: str = ""
    in_flight: str = ""
    in_flight_until: datetime = NEVER
    first: str = ""
    pin: Pin | None = None
    etag: str = ""

    @property
    def number(self) -> int:
        """The version as a number, less than every version if none was sent."""
        return int(self.version) if self.version else -1


_VALUES = ("version", "brought_by", "in_flight", "in_flight_until", "first")
_PIN = tuple(field.name for field in fields(Pin))


class Obstacle(NamedTuple):
    """What keeps a version from being sent: one that was sent before, is in flight, or is started first, or a pin.

    `brought_by` is the row of the claim of the version that was sent. A start with a pin that was removed has an
    obstacle without any of them.
    """

    sent: str = ""
    in_flight: str = ""
    first: str = ""
    manually: bool = False
    brought_by: str = ""
    pin: Pin | None = None


class HighWaterMarks:
    """The marks of all models and targets; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, claims: Claims, clock: Clock) -> None:
        self._table = table
        self._claims = claims
        self._clock = clock
        self._remembered: dict[tuple[str, str], Mark] = {}

    def advance(self, claim: Claim, *, gone: str = "") -> Obstacle | None:
        """Write the claim, whose version is a whole number, into the mark, unless there is an obstacle.

        A mark of the version that is `gone` is ignored: the claim's version begins anew.
        """
        at = claim.partition, claim.target_digest
        # The mark that this process wrote last serves for the write, which conflicts if the mark has changed.
        mark, is_fresh = self._remembered.get(at), False
        while True:
            if mark is None:
                mark, is_fresh = self._read(*at), True
            if obstacle := self._obstacle(mark, claim, gone):
                if is_fresh:
                    return obstacle
            else:
                with suppress(ResourceExistsError, ResourceModifiedError):
                    self._remembered[at] = self._write(mark, claim, gone)
                    return None
            mark = None

    def land(self, claim: Claim) -> None:
        """Remember that the request of a final claim is not in flight, so that the next version need not read it."""
        at = claim.partition, claim.target_digest
        mark = self._remembered.get(at)
        if claim.state.final and mark and mark.in_flight == claim.row:
            self._remembered[at] = mark._replace(in_flight_until=NEVER)

    def kept_back(self, claim: Claim) -> Obstacle | None:
        """Return the pin that keeps a version back whose target has no mark."""
        return self._kept_back(self._read(claim.partition, claim.target_digest).pin, claim)

    def pin(self, partition: str, target_digest: str) -> Pin | None:
        """Read the pin of a model and target."""
        return self._read(partition, target_digest).pin

    def set_pin(self, partition: str, target_digest: str, pin: Pin) -> None:
        """Write a pin, in place of another one."""
        while (mark := self._read(partition, target_digest)).pin != pin:
            with suppress(ResourceExistsError, ResourceModifiedError):
                self._save(partition, target_digest, mark, **_pin_values(pin))

    def remove_pin(self, partition: str, target_digest: str, pin: Pin, first: str) -> bool:
        """Remove this pin; return whether the line has no pin now: another person may have set another one.

        `first` is the row of the claim that is started next, empty if none is: without it, an attempt of an older
        version that begins at this moment would be sent before it.
        """
        while (mark := self._read(partition, target_digest)).pin == pin:
            with suppress(ResourceModifiedError):
                self._save(partition, target_digest, mark, pin_version="", first=first)
        return mark.pin is None

    def set_back(self, claim: Claim) -> None:
        """Set a newer mark back to the claim's version."""
        while (mark := self._read(claim.partition, claim.target_digest)).number > int(claim.version):
            with suppress(ResourceModifiedError):
                self._save(claim.partition, claim.target_digest, mark, version=claim.version, brought_by=claim.row)

    def newer_sent(self, claim: Claim) -> str:
        """Return the version of the mark if it is newer than the claim's, otherwise an empty text."""
        mark = self._read(claim.partition, claim.target_digest)
        return mark.version if mark.number > int(claim.version) else ""

    def _obstacle(self, mark: Mark, claim: Claim, gone: str) -> Obstacle | None:
        by_hand, now = bool(claim.idempotency_key), self._clock()
        if not by_hand and mark.number > int(claim.version) and mark.version != gone:
            return Obstacle(sent=mark.version, brought_by=mark.brought_by)
        if kept_back := self._kept_back(mark.pin, claim):
            return kept_back
        # The same version, started manually: one read decides both questions.
        same_by_hand = not by_hand and mark.version == claim.version and mark.brought_by != claim.row
        named = {mark.in_flight} if mark.in_flight_until > now else set()
        for row in sorted((named | ({mark.brought_by} if same_by_hand else set())) - {claim.row}):
            other = self._claims.get(claim.partition, row)
            is_same_by_hand = row == mark.brought_by and same_by_hand and bool(other.idempotency_key)
            if is_same_by_hand and other.state is State.STARTED:
                return Obstacle(sent=other.version, manually=True)
            # Its release may exist, also if its request is not in flight any more: the next search for it decides.
            if other.in_flight(now) or (is_same_by_hand and other.state.may_be_created):
                return Obstacle(in_flight=other.version)
        return None if by_hand else self._started_first(mark, claim)

    def _started_first(self, mark: Mark, claim: Claim) -> Obstacle | None:
        if mark.first in ("", claim.row):
            return None
        first = self._claims.get(claim.partition, mark.first)
        is_over = first.state.final or first.state is State.REFUSED or int(first.version) < int(claim.version)
        return None if is_over else Obstacle(first=first.version)

    def _kept_back(self, pin: Pin | None, claim: Claim) -> Obstacle | None:
        if claim.pins or pin is None:
            is_its_own = not claim.pins or (pin and pin.start == claim.row)
            return None if is_its_own else Obstacle(pin=pin)
        if pin.start and pin.version == claim.version and not claim.idempotency_key:
            start = self._claims.find(claim.partition, pin.start)
            if start and start.state is State.STARTED:
                return Obstacle(sent=start.version, manually=True)
        return Obstacle(pin=pin)

    def _read(self, partition: str, target_digest: str) -> Mark:
        found = self._table.find(partition, target_digest)
        if found is None:
            return Mark()
        values = {name: found[name] for name in _VALUES}
        pin = Pin(**{name: found[f"pin_{name}"] for name in _PIN}) if found.get("pin_version") else None
        return Mark(**values, pin=pin, etag=str(found.metadata["etag"]))

    def _write(self, mark: Mark, claim: Claim, gone: str) -> Mark:
        written = _advanced(mark, claim, gone)
        values = {name: getattr(written, name) for name in _VALUES}
        return written._replace(etag=self._save(claim.partition, claim.target_digest, mark, **values))

    def _save(self, partition: str, target_digest: str, before: Mark, **values: Any) -> str:
        """Write some values, unless the row has changed; the others stay as they are."""
        if before.etag:
            return self._table.change(partition, target_digest, before.etag, **values)
        new = {name: getattr(before, name) for name in _VALUES}
        return self._table.insert(partition, target_digest, **new | values)


def _advanced(mark: Mark, claim: Claim, gone: str) -> Mark:
    new = mark._replace(in_flight=claim.row, in_flight_until=claim.in_flight_until)
    if mark.number < int(claim.version) or mark.version == gone:
        new = new._replace(version=claim.version, brought_by=claim.row, first="")
    if mark.in_flight == claim.row:
        new = new._replace(in_flight_until=max(mark.in_flight_until, claim.in_flight_until))
    return new


def _pin_values(pin: Pin) -> dict[str, Any]:
    return {f"pin_{name}": value for name, value in asdict(pin).items()}

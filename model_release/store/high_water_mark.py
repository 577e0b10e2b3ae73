"""High-water marks: the newest version of a model that was sent to a target.

| partition | row | for |
|---|---|---|
| `claim HASH MODEL` | `TARGET` | the version, and until when its request may still be carried out |
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from model_release.domain.claims import NEVER, Claim
from model_release.store.claims import Claims, Clock
from model_release.store.table import Table


@dataclass(frozen=True)
class Mark:
    """A high-water mark as it was read or written."""

    version: str
    in_flight_until: datetime
    etag: str


@dataclass(frozen=True)
class Obstacle:
    """What keeps a version from being sent: a newer version that was sent, or an older one that is in flight."""

    newer: str = ""
    older: str = ""


class HighWaterMarks:
    """The marks of all models and targets; every method raises azure-core's errors if storage fails."""

    def __init__(self, table: Table, claims: Claims, clock: Clock) -> None:
        self._table = table
        self._claims = claims
        self._clock = clock
        self._remembered: dict[tuple[str, str], Mark] = {}

    def advance(self, claim: Claim) -> Obstacle | None:
        """Write the claim's version, a whole number, to the mark, unless there is an obstacle."""
        at = claim.partition, claim.mark_row
        # The mark that this process wrote last need not be read: if it has changed, the write conflicts.
        mark = self._remembered.get(at) or self._read(claim)
        while True:
            if obstacle := self._obstacle(mark, claim):
                return obstacle
            with suppress(ResourceExistsError, ResourceModifiedError):
                self._remembered[at] = self._write(mark, claim)
                return None
            mark = self._read(claim)

    def land(self, claim: Claim) -> None:
        """Remember that the request of a final claim is not in flight, so that the next version need not read it."""
        at = claim.partition, claim.mark_row
        mark = self._remembered.get(at)
        if claim.state.final and mark and mark.version == claim.version:
            self._remembered[at] = replace(mark, in_flight_until=NEVER)

    def _obstacle(self, mark: Mark | None, claim: Claim) -> Obstacle | None:
        if mark is None or mark.version == claim.version:
            return None
        if int(mark.version) > int(claim.version):
            return Obstacle(newer=mark.version)
        now = self._clock()
        if mark.in_flight_until > now:
            before = self._claims.get(claim.partition, f"{mark.version} {claim.mark_row}")
            if before.in_flight(now):
                return Obstacle(older=before.version)
        return None

    def _read(self, claim: Claim) -> Mark | None:
        found = self._table.find(claim.partition, claim.mark_row)
        return Mark(found["version"], found["in_flight_until"], str(found.metadata["etag"])) if found else None

    def _write(self, mark: Mark | None, claim: Claim) -> Mark:
        values = {"version": claim.version, "in_flight_until": claim.in_flight_until}
        if mark:
            etag = self._table.change(claim.partition, claim.mark_row, mark.etag, **values)
        else:
            etag = self._table.insert(claim.partition, claim.mark_row, **values)
        return Mark(claim.version, claim.in_flight_until, etag)

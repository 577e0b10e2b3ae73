"""What must hold at each step, and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from azure.data.tables import TableEntity

from model_release.domain.claims import Claim, State, claim_key, marker_of, target_digest
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.domain.targets import Target
from model_release.store.outbox import outcomes
from tests.proof.devops import COPY, DEFINITION, Answer, Request
from tests.proof.services import MODEL, WORKSPACE

if TYPE_CHECKING:
    from tests.proof.simulation import Simulation
    from tests.proof.workers import Worker

KINDS = (
    "doubled",
    "lost",
    "backwards",
    "unpinned",
    "stuck",
    "history differing",
    "outcomes missing",
    "recorded wrongly",
    "taken over",
    "error",
)
# Such entries belong to no claim.
NOTES = ("high-water mark set back from ", "pinned by ", "pin of ")
# Values that differ in each schedule, or only by the time, do not make a state another one.
_NOT_PART_OF_A_STATE = frozenset(
    ["PartitionKey", "RowKey", "worker", "reason", "attempts", "nonce", "event0", "trace_parent"]
)

claim_key = cache(claim_key)
marker_of = cache(marker_of)


@dataclass(frozen=True)
class Failure:
    """Something that must never happen."""

    kind: str
    text: str


class Checks:
    """Collects the failures of a schedule."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._rows = simulation.table.rows
        self._hashes: dict[str, int] = {}
        self.table = 0
        self._requests = simulation.organization.requests
        self._set_back_after = 0
        # The rows of the names that mean the copy, as a person's start has written.
        self._confirmed: set[str] = set()
        self._marks: dict[tuple[str, str], int] = {}
        # The row of the start in each pin, the version, and the workers that ran when it was set or removed.
        self._pins: dict[tuple[str, str], tuple[str, str, frozenset[Worker]]] = {}
        self._final: dict[tuple[str, str], str] = {}
        self.failures: list[Failure] = []
        # Version and idempotency key of what was acknowledged.
        self.promised: set[tuple[int, str]] = set()
        # The versions that a complete catch-up has listed.
        self.listed: set[int] = set()

    def fail(self, kind: str, text: str) -> None:
        self.failures.append(Failure(kind, text))
        self._simulation.note(f"FAILURE: {kind}: {text}")

    def table_changed(self, worker: Worker) -> None:
        """Look at the table after a write of a worker, and compute its hash again."""
        self._look_at_names(worker)
        self._look_at_marks()
        hashes, table = self._hashes, 0
        for row in self._rows.values():
            etag = row._metadata["etag"]
            known = hashes.get(etag)
            if known is None:
                known = hashes[etag] = _hash(row)
            table ^= known
        self.table = table

    def landed(self, request: Request) -> None:
        """Check the order of what was created, and that it is new."""
        line = self._simulation.scenario.maps[0].order == "newest"
        key = self._restart_key(request)
        for other in self._requests:
            if other is request or not other.landed or other.definition != request.definition:
                continue
            both = f"requests {other.number} and {request.number}, versions {other.version} and {request.version}"
            if other.marker == request.marker:
                self.fail("doubled", f"one claim has two releases: {both}")
            elif (other.version, self._restart_key(other), key) == (request.version, "", ""):
                self.fail("doubled", f"one registration has two releases: {both}")
            elif line and not key and other.version > request.version and other.number > self._set_back_after:
                self.fail("backwards", f"a lower version follows a higher one: {both}")
            elif line and self._is_pinned(other) and not self._is_pinned(request):
                self.fail("unpinned", f"carried out after a pinned start whose pin was not removed: {both}")
            elif line and other.number > request.number:
                self.fail("backwards", f"carried out in another order than sent: {both}")

    def sent(self, request: Request) -> None:
        """Check the target and the pin of a request, and that it follows no person's start of the same version."""
        at, claim = self._claim(request)
        name = f"name {target_digest(Target(claim['project'], claim['definition']))}"
        if request.definition != DEFINITION and name in self._simulation.organization.known - self._confirmed:
            self.fail("taken over", f"{request.version} is sent to a copy that no person has confirmed")
        for (partition, _), row in self._rows.items():
            if "brought_by" in row and row["version"] == str(request.version) and not self._restart_key(request):
                brought_by = self._rows[partition, row["brought_by"]]
                if brought_by["definition_id"] != request.definition:
                    continue
                refused = any(one.answer is Answer.REFUSED_BUT_CREATED for one in self._requests)
                if brought_by["idempotency_key"] and brought_by["state"] == State.STARTED and not refused:
                    self.fail("doubled", f"{request.version} is sent, and a person's start of it was created before")
        start, version, workers = self._pins.get((at[0], at[1].split(" ")[1]), ("", "", frozenset()))
        allowed = start == at[1] if claim["pins"] else not version
        if not allowed and self._simulation.current not in workers:
            self.fail("unpinned", f"request {request.number} for {request.version} is sent although the pin forbids it")

    @property
    def is_pinned(self) -> bool:
        """Whether a pin is set."""
        return any(version for _, version, _ in self._pins.values())

    def kept(self, pending: set[str], began: int) -> None:
        """Check that nothing was sent for what a person closed while removing the pin."""
        for request in self._requests[began:]:
            if self._claim(request)[0][1] in pending:
                self.fail("unpinned", f"request {request.number} for {request.version} is sent, and was closed")

    def acknowledged(self) -> None:
        """Check that what was acknowledged has a final claim or is pending, and that no final claim changes."""
        safe: set[tuple[int, str]] = set()
        for at, row in self.claims():
            state = row["state"]
            final = State(state).final
            if self._final.get(at, state) != state:
                self.fail("recorded wrongly", f"a final claim changes from {self._final[at]} to {state}")
            if final:
                self._final[at] = state
            if final or ("pending", claim_key(*at)) in self._rows:
                safe.add((int(row["version"]), row["idempotency_key"]))
        for version, key in self.promised - safe:
            if key or not any(row == f"{version} ignored" for _, row in self._rows):
                self.fail("lost", f"{_named(version, key)} was acknowledged, and has no final claim and no pending row")

    def _look_at_names(self, worker: Worker) -> None:
        """Note when a person's start confirms that a name means the copy, whenever it began."""
        if worker.name.startswith(("restart", "try now")):
            copied = {row for (_, row), values in self._rows.items() if values.get("definition_id") == COPY}
            self._confirmed |= copied & self._simulation.organization.known

    def _look_at_marks(self) -> None:
        """Note when a person sets a mark back: lower versions may be created from then on."""
        for at, row in self._rows.items():
            if "brought_by" in row:
                number, version = int(row["version"] or 0), row.get("pin_version", "")
                pin = (row["pin_start"], version) if version else ("", "")
                if number < self._marks.get(at, 0):
                    self._set_back_after = len(self._requests)
                self._marks[at] = number
                if pin != self._pins.get(at, ("", ""))[:2]:
                    self._pins[at] = *pin, frozenset(self._simulation.workers)

    def at_the_end(self) -> None:
        """Check the records after the recovery."""
        process = self._simulation.processes[0]
        recorded = process.app.claims.recorded(WORKSPACE, MODEL)
        claims = [claim for version in recorded.values() for claim in version.claims]
        for version in self.listed | {version for version, _ in self.promised}:
            if str(version) not in recorded:
                self.fail("lost", f"version {version} was acknowledged or listed, and is not recorded")
        for claim in claims:
            if not claim.state.final and not (claim.state is State.HELD and self.is_pinned):
                self.fail("stuck", f"the claim of {_named(claim.version, claim.idempotency_key)} is {claim.state}")
            created = [one for one in self._requests if one.landed and one.marker == claim.marker]
            if claim.state.final and (claim.state is State.STARTED) != bool(created):
                self.fail("recorded wrongly", f"version {claim.version} is {claim.state} with {len(created)} releases")
        self._check_pins(claims)
        if pending := sum(at[0] == "pending" and row["state"] != State.HELD for at, row in self._rows.items()):
            self.fail("stuck", f"{pending} pending rows are left")
        page = process.history.page(HistoryQuery(limit=1000))
        entries = [entry for entry in page.entries if not entry.reason.startswith(NOTES)]
        if Counter(entries) != Counter(HistoryEntry.of(claim) for claim in claims):
            self.fail("history differing", _difference(entries, claims))
        wanted = {key for claim in claims for key in outcomes(claim)}
        if missing := wanted - self._simulation.published:
            self.fail("outcomes missing", ", ".join(sorted(missing)))

    def _check_pins(self, claims: list[Claim]) -> None:
        """Check that the start of each pin was started, unless its age, the map or another definition forbids it."""
        if self._simulation.organization.named != DEFINITION:
            return
        for start, version, _ in self._pins.values():
            found = next((claim for claim in claims if start and claim.row == start), None)
            may_end = (State.STARTED, State.ABANDONED)
            if found and found.state not in may_end and all(one.enabled for one in self._simulation.scenario.maps):
                self.fail("unpinned", f"{version} is pinned, and its start is {found.state}")

    def _is_pinned(self, request: Request) -> bool:
        at, _ = self._claim(request)
        return self._pins.get((at[0], at[1].split(" ")[1]), ("",))[0] == at[1]

    def claims(self) -> Iterator[tuple[tuple[str, str], TableEntity]]:
        """Find the rows of all claims, with their keys."""
        for at, row in self._rows.items():
            if "state" in row and at[0].startswith("claim "):
                yield at, row

    def _restart_key(self, request: Request) -> str:
        return str(self._claim(request)[1]["idempotency_key"])

    def _claim(self, request: Request) -> tuple[tuple[str, str], TableEntity]:
        for at, row in self.claims():
            if marker_of(*at, row["nonce"]) == request.marker:
                return at, row
        raise AssertionError(f"request {request.number} has no claim")


def _named(version: object, key: str) -> str:
    return f"restart {key} of version {version}" if key else f"version {version}"


def _difference(entries: Any, claims: Any) -> str:
    shown = sorted(f"{entry.subject} {entry.target} {entry.state}" for entry in entries)
    wanted = sorted(f"models/{one.model}:{one.version} {one.target} {one.state}" for one in claims)
    return f"the history shows {shown}, the claims are {wanted}"


def _hash(row: TableEntity) -> int:
    values = [
        (name, value)
        for name, value in row.items()
        if name not in _NOT_PART_OF_A_STATE and not isinstance(value, datetime)
    ]
    key = row["PartitionKey"]
    return hash((key, row["RowKey"] if key not in ("history", "ignored") else "", tuple(sorted(values))))

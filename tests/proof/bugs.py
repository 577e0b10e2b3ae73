"""Planted bugs: each leaves out one rule of the protocol, in a subclass of the class that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

from model_release.domain.claims import NEVER, AttemptResult, Claim, State, claim_row, target_digest
from model_release.domain.history import NOBODY, ByHand, HistoryEntry
from model_release.domain.lease import Lease
from model_release.domain.targets import Plan, Target, TargetId
from model_release.flow.attempt import Attempts, Guarded, OpenAttempt
from model_release.flow.confirm import Cause
from model_release.flow.start_release import StartRelease
from model_release.store.high_water_mark import HighWaterMarks, Mark, Obstacle, Pin
from model_release.store.history import History
from model_release.store.pending import Due, Pending
from model_release.store.targets import Resolved, Targets
from tests.proof.checks import Failure
from tests.proof.scenario import Focus
from tests.proof.schedules import quiet, run
from tests.proof.services import Parts


class _ShrinkingMarks(HighWaterMarks):
    def _write(self, mark: Mark | None, claim: Claim, gone: str) -> Mark:
        return super()._write(mark and mark._replace(in_flight_until=NEVER), claim, gone)


class _OneTime(Lease):
    def in_flight_until(self, acquired: datetime) -> datetime:
        return self.until(acquired)


class _NoDeadline(Lease):
    def deadline(self, acquired: float) -> float:  # noqa: ARG002
        return inf


class _NamesOfTheMap(Targets):
    def resolve(self, target: Target, target_id: TargetId, *, confirmed: bool = False) -> Resolved:  # noqa: ARG002
        return Resolved(target_digest(target), target_id.definition)

    def last_resolved(self, target: Target) -> Resolved:
        return Resolved(target_digest(target))


class _ForgetsAnyRow(Pending):
    def forget(self, due: Due) -> None:
        self.delete(due.partition, due.row)


class _PushesRowsAhead(StartRelease):
    def _attempt(self, plan: Plan, siblings: list[str], cause: Cause) -> list[HistoryEntry]:
        if cause.idempotency_key:
            resolved = self.targets.last_resolved(plan.target)
            new = self.claims.new(plan, cause.event, resolved, siblings, cause.idempotency_key).claim
            self.pending.put(new, new.lease_until)
        return super()._attempt(plan, siblings, cause)


class _SendsAfterAFailedSearch(Attempts):
    def already_created(self, attempt: OpenAttempt) -> Guarded:
        guarded = super().already_created(attempt)
        refused = attempt.before and attempt.before.state is State.REFUSED
        return attempt if refused and isinstance(guarded, AttemptResult) and not guarded.created else guarded


class _KeepsSlowEntries(History):
    def _insert_over(self, before: list[str], at: str, entry: dict[str, Any]) -> None:
        self._table.insert("history", at, **entry)
        for row in before:
            self._table.delete("history", row)


class _NoRowBeforeTheClaim(StartRelease):
    def _attempt(self, plan: Plan, siblings: list[str], cause: Cause) -> list[HistoryEntry]:
        return super()._attempt(plan, siblings, cause._replace(delivered=cause.delivered or not cause.idempotency_key))


class _RestartsWithoutMark(Attempts):
    def _high_water_mark_and_pin(self, attempt: OpenAttempt) -> Guarded:
        return attempt if attempt.claim.idempotency_key else super()._high_water_mark_and_pin(attempt)


class _BelievesNames(Targets):
    def resolve(self, target: Target, target_id: TargetId, *, confirmed: bool = False) -> Resolved:  # noqa: ARG002
        return super().resolve(target, target_id, confirmed=True)


class _NoPins(HighWaterMarks):
    def _kept_back(self, pin: Pin | None, claim: Claim) -> Obstacle | None:
        return super()._kept_back(pin, claim) if claim.idempotency_key else None


class _StartsWithoutTheirPin(HighWaterMarks):
    def _kept_back(self, pin: Pin | None, claim: Claim) -> Obstacle | None:
        return None if claim.pins else super()._kept_back(pin, claim)


class _PinsReadAlone(HighWaterMarks):
    def advance(self, claim: Claim, *, gone: str = "") -> Obstacle | None:
        if kept_back := HighWaterMarks._kept_back(self, self.pin(claim.partition, claim.target_digest), claim):
            return kept_back
        return super().advance(claim, gone=gone)

    def _kept_back(self, _: Pin | None, __: Claim) -> Obstacle | None:
        return None


class _PinsAfterTheStart(StartRelease):
    def restart(self, claim: Claim, idempotency_key: str, by_hand: ByHand = NOBODY) -> list[HistoryEntry]:
        entries = super().restart(claim, idempotency_key, by_hand._replace(pins=False))
        if by_hand.pins:
            start = claim_row(claim.version, claim.target_digest, idempotency_key)
            pin = Pin(claim.version, start, self.recorder.clock(), by_hand.by, comment=by_hand.comment)
            self.recorder.marks.set_pin(claim.partition, claim.target_digest, pin)
        return entries


@dataclass(frozen=True)
class Bug:
    """The rule that is left out, the classes without it, and the schedules that show it soonest."""

    name: str
    parts: Parts
    focus: Focus


def _focus(script: str, only: str = "", at: str = "") -> Focus:
    return Focus(
        tuple(script.split(", ")),
        frozenset(["newest", *filter(None, only.split(", "))]),
        frozenset(f"before {name}" for name in at.split(", ") if name),
    )


BUGS = (
    Bug(
        "1 the time of a claim in the mark may shrink",
        Parts(marks=_ShrinkingMarks),
        _focus("deliver:20, two leases pass, deliver:20, deliver:21, request lands", "late", "create_entity"),
    ),
    Bug(
        "2 a request is in flight until the lease ends only",
        Parts(lease=_OneTime),
        _focus("deliver:20, seconds pass:100, seconds pass:85, sweep, request lands", "late", "sign in"),
    ),
    Bug(
        "2 the deadline is not checked",
        Parts(lease=_NoDeadline),
        _focus("deliver:20, two leases pass, deliver:20", "late", "sign in"),
    ),
    Bug(
        "3 claims are stored under the name in the map",
        Parts(targets=_NamesOfTheMap),
        _focus("deliver:20, deploy, two leases pass, deliver:20", "deploy"),
    ),
    Bug(
        "3 a name that means another definition is believed",
        Parts(targets=_BelievesNames),
        _focus("deliver:20, definition is replaced, two leases pass, two leases pass, deliver:21"),
    ),
    Bug(
        "4 a pending row without a claim is deleted without its etag",
        Parts(pending=_ForgetsAnyRow),
        _focus("deliver:20, restart:20, one lease passes, sweep", "never", "create_entity, delete_entity"),
    ),
    Bug(
        "4 a repeated restart pushes its pending row ahead",
        Parts(start_release=_PushesRowsAhead),
        _focus("deliver:20, restart:20, kill", "never, impatient"),
    ),
    Bug(
        "5 a refused claim is sent again although its search failed",
        Parts(attempts=_SendsAfterAFailedSearch),
        _focus("deliver:20, two leases pass, try now:20, try now:20", "refused_but_created, questions fail"),
    ),
    Bug(
        "6 an entry stays that a slow worker writes after a later one",
        Parts(history=_KeepsSlowEntries),
        _focus("deliver:20, one lease passes, sweep", "lost", "create_entity"),
    ),
    Bug(
        "6 what nobody delivers again has no pending row before its claim",
        Parts(start_release=_NoRowBeforeTheClaim),
        _focus("catch up, kill"),
    ),
    Bug(
        "9 a restart does not write the mark",
        Parts(attempts=_RestartsWithoutMark),
        _focus("deliver:20, restart:20, deliver:21, request lands", "late"),
    ),
    Bug("8 a registered version does not find the pin", Parts(marks=_NoPins), _focus("deliver:20, pin:20, deliver:21")),
    Bug(
        "8 a start goes on whose pin was moved",
        Parts(marks=_StartsWithoutTheirPin),
        _focus("deliver:20, deliver:21, pin:20, pin:21, two leases pass, sweep", "throttled, busy"),
    ),
    Bug(
        "8 the pin is not written with the mark",
        Parts(marks=_PinsReadAlone),
        _focus("deliver:20, deliver:21, pin:20", at="update_entity, create_entity"),
    ),
    Bug(
        "8 the pin is written after its start",
        Parts(start_release=_PinsAfterTheStart),
        _focus("deliver:20, pin:20, deliver:21", "busy"),
    ),
)


def schedules_until_found(bug: Bug, seed: int, most: int, skip: int = 0) -> tuple[int, Failure] | None:
    """Return how many schedules it takes until one fails that does not fail without the bug."""
    with quiet():
        for number in range(skip, most):
            failures = run(seed * 1_000_000 + number, parts=bug.parts, focus=bug.focus).checks.failures
            if failures and not run(seed * 1_000_000 + number, focus=bug.focus).checks.failures:
                return number + 1, failures[0]
    return None

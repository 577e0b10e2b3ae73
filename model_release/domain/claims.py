"""Claims: records that a model version is, or was, on its way to a target; states and their transitions (pure)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from model_release.domain.events import Workspace
from model_release.domain.targets import Created, Plan, Target, TargetKind
from model_release.reason import Reason, ReasonKind

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
MARKER_BEGINS = "[model-release"
# The clocks of Azure DevOps and Azure ML may differ from the app's by so much.
CLOCK_DIFFERENCE = timedelta(minutes=5)


class State(StrEnum):
    """The state of a model version at a target."""

    STARTING = "starting"
    WAITING = "waiting"
    HELD = "held"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STARTED = "started"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    ABANDONED = "abandoned"
    IGNORED = "ignored"

    @property
    def final(self) -> bool:
        """Whether the state never changes again."""
        return not TRANSITIONS[self]

    @property
    def may_be_created(self) -> bool:
        """Whether an attempt was cut off or got no answer, so that a release may exist."""
        return self in (State.STARTING, State.UNKNOWN)


MEANING: Mapping[State, str] = {
    State.STARTING: "A worker is processing the claim, or was cut off.",
    State.WAITING: "Nothing was created; the sweep tries again.",
    State.HELD: "A pin keeps the version back; it is tried again at most hourly.",
    State.REFUSED: "Nothing was created, and a person must change something; the sweep tries again.",
    State.UNKNOWN: "A release may have been created; the sweep looks for its marker.",
    State.STARTED: "The release exists.",
    State.SUPERSEDED: "A newer version was sent to the target first, or a person kept an older one there.",
    State.WITHDRAWN: "No route leads to the target, Azure ML does not have the version, or a person decided otherwise.",
    State.ABANDONED: "All attempts failed for seven days.",
    State.IGNORED: "The event started nothing; it has no claim.",
}
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset(State) - {State.IGNORED},
    State.WAITING: frozenset({State.STARTING}),
    State.HELD: frozenset({State.STARTING}),
    State.REFUSED: frozenset({State.STARTING}),
    State.UNKNOWN: frozenset({State.STARTING}),
    State.STARTED: frozenset(),
    State.SUPERSEDED: frozenset(),
    State.WITHDRAWN: frozenset(),
    State.ABANDONED: frozenset(),
    State.IGNORED: frozenset(),
}


class Attempt(NamedTuple):
    """One attempt of a claim, as the claim records it."""

    number: int
    time: datetime
    state: State
    reason: str


@dataclass(frozen=True)
class AttemptResult:
    """The end of an attempt.

    `next_attempt` only if the state is not final; `in_flight_until` if an earlier attempt sent the request; `instead`
    are the plans that replace a withdrawn claim; `unavailable` if Azure DevOps or Azure ML did not answer, so that
    other claims may end in the same way; `absent` if Azure ML does not have the version, so that other versions need
    not wait for it.
    """

    state: State
    reason: Reason
    next_attempt: datetime = NEVER
    created: Created | None = None
    in_flight_until: datetime | None = None
    instead: tuple[Plan, ...] = ()
    unavailable: bool = field(default=False, compare=False)
    absent: bool = False


@dataclass(frozen=True)
class Claim:
    """The claim of a model version on a target; times are UTC.

    Until `lease_until`, `worker` alone may work on the claim. Until `in_flight_until`, a request that got no answer may
    still be carried out. `definition_id` is the ID of the definition or pipeline that the request was sent to, 0 before
    the first request. `registered_at` is when Azure ML registered the version, NEVER before it confirmed this.
    `nonce` is the random part of the marker, which nobody can plant in a release of another claim.
    `attempt` is the number of the latest attempt. `idempotency_key` belongs to a person's start, `by` and `comment` are
    who started it and why, and `pins` is whether it was started with a pin. `pinned_until` is when a pin last kept the
    claim back, `newest_only` the order of its target. `sibling_targets` are the other targets of the event,
    `trace_parent` is the span that inserted the claim.
    """

    partition: str
    row: str
    workspace: str
    model: str
    version: str
    project: str
    definition: int | str
    kind: TargetKind
    definition_id: int
    route: str
    event_id: str
    event: str
    created: datetime
    state: State
    lease_until: datetime
    in_flight_until: datetime
    registered_at: datetime = NEVER
    attempt: int = 1
    worker: str = ""
    nonce: str = ""
    next_attempt: datetime = NEVER
    reason: str = ""
    reason_kind: ReasonKind = ReasonKind.NONE
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""
    idempotency_key: str = ""
    by: str = ""
    by_verified: bool = False
    comment: str = ""
    pins: bool = False
    pinned_until: datetime = NEVER
    newest_only: bool = False
    sibling_targets: str = ""
    trace_parent: str = ""
    attempts: tuple[Attempt, ...] = ()
    etag: str = ""

    def in_flight(self, now: datetime) -> bool:
        """Whether a request that creates its release may still be carried out."""
        return self.state.may_be_created and self.in_flight_until > now

    @property
    def registered(self) -> datetime:
        """When the version was registered; at the latest, if Azure ML has not said so."""
        return self.registered_at if self.registered_at > NEVER else self.created + CLOCK_DIFFERENCE

    @property
    def waits_since(self) -> datetime:
        """When the seven days began that it may be attempted: the time for which a pin kept it back does not count."""
        return max(self.created, self.pinned_until)

    @property
    def changed(self) -> datetime:
        """When its last attempt ended; no two attempts of a claim have the same time."""
        return self.attempts[-1].time if self.attempts else self.created

    @property
    def target(self) -> Target:
        """The target that is claimed."""
        return Target(self.project, self.definition, self.kind)

    @property
    def key(self) -> str:
        """The claim's name: 32 hexadecimal digits."""
        return claim_key(self.partition, self.row)

    @property
    def marker(self) -> str:
        """The text in the release or run by which it is found again."""
        return marker_of(self.partition, self.row, self.nonce)

    @property
    def target_digest(self) -> str:
        """The digest of the target under its first name; it is the row of the high-water mark too."""
        return self.row.split(" ")[1]


class RecordedVersion(NamedTuple):
    """All records of a model version: its claims, the first event, and why that event was ignored, if it was."""

    claims: tuple[Claim, ...]
    event: str
    ignored: Reason | None = None

    @property
    def claimed(self) -> frozenset[str]:
        """The digests of the targets that have a claim."""
        return frozenset(claim.target_digest for claim in self.claims)

    @property
    def registered(self) -> datetime | None:
        """When the version was registered last, of those that have a claim; None without a claim."""
        return max((claim.registered for claim in self.claims if not claim.idempotency_key), default=None)

    @property
    def siblings(self) -> frozenset[str]:
        """The digests of the targets of an event that has several."""
        return frozenset(digest for claim in self.claims for digest in claim.sibling_targets.split())


def claim_partition(workspace: Workspace, model: str) -> str:
    """Return the partition of the claims of a model's versions."""
    return f"claim {digest(workspace.id)} {model}"


def claim_row(version: str, target_digest: str, start: str = "") -> str:
    """Return the row of a claim; a person's start, and a version that was registered anew, have rows of their own."""
    return " ".join(filter(None, [version, target_digest, start]))


def registration_row(registered_at: datetime) -> str:
    """Return the last part of the row of a version that was registered anew."""
    return f"registered-{registered_at:%Y%m%dT%H%M%S.%fZ}"


def target_digest(target: Target) -> str:
    """Return a short name of a target."""
    return digest(target.key)


def claim_key(partition: str, row: str) -> str:
    """Return the name of the claim in this row."""
    return digest(f"{partition}\n{row}", 32)


def marker_of(partition: str, row: str, nonce: str) -> str:
    """Return the marker of the claim in this row."""
    return f"{MARKER_BEGINS} {claim_key(partition, row)}-{nonce}]"


def digest(text: str, length: int = 16) -> str:
    """Return the first hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]

"""A model version's claim on a target, and what came of it: the values that the ledger keeps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from model_release.domain.events import Workspace
from model_release.domain.release_map import Kind, StartedRelease, Target

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """Where a claim is on its way."""

    STARTING = "starting"
    WAITING = "waiting"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STARTED = "started"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    ABANDONED = "abandoned"
    IGNORED = "ignored"

    @property
    def final(self) -> bool:
        """Nothing more will happen."""
        return self not in (State.STARTING, State.WAITING, State.REFUSED, State.UNKNOWN)

    @property
    def may_exist(self) -> bool:
        """An attempt was cut off or got no answer, so a release may exist."""
        return self in (State.STARTING, State.UNKNOWN)


@dataclass(frozen=True)
class Answer:
    """What one attempt came to."""

    attempt: int
    when: datetime
    state: State
    reason: str


@dataclass(frozen=True)
class Claim:
    """A model version's claim on a target; times are UTC.

    `again` names the wish for another release on purpose, `beside` the other targets that the same event was for, and
    `trace` the span in which the claim was made.
    """

    partition: str
    row: str
    workspace: str
    model: str
    version: str
    project: str
    definition: int | str
    route: str
    event_id: str
    event: str
    created: datetime
    state: State
    lease_until: datetime
    attempts: int = 1
    holder: str = ""
    next_try: datetime = NEVER
    reason: str = ""
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""
    again: str = ""
    beside: str = ""
    trace: str = ""
    answers: tuple[Answer, ...] = ()
    kind: Kind = "release"
    etag: str = ""

    def in_flight(self, now: datetime) -> bool:
        """A request that creates its release may be under way."""
        return self.state.may_exist and self.lease_until > now

    @property
    def target(self) -> Target:
        """What it claims."""
        return Target(self.project, self.definition, self.kind)

    @property
    def key(self) -> str:
        """Names the claim in one word of 32 hexadecimal digits."""
        return key_of(self.partition, self.row)

    @property
    def marker(self) -> str:
        """Stands on what was started, and by it that is found again."""
        return marker_of(self.partition, self.row)


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to; `next_try` only where the state is not final."""

    state: State
    reason: str
    next_try: datetime = NEVER
    release: StartedRelease | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True)
class Decision:
    """What became of an event: one line of the history; `milliseconds` is of this attempt, and is not kept."""

    when: datetime
    state: State
    reason: str
    event_id: str
    subject: str
    workspace: str = ""
    target: str = ""
    route: str = ""
    attempts: int = 0
    next_try: datetime = NEVER
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""
    milliseconds: int = field(default=0, compare=False)

    @property
    def model_version(self) -> tuple[str, str]:
        """The model and the version that the subject names, empty where it names none."""
        model, colon, version = self.subject.removeprefix("models/").partition(":")
        return (model, version) if colon and self.subject.startswith("models/") else ("", "")

    @classmethod
    def of(cls, claim: Claim) -> Decision:
        """The line that tells of this claim."""
        return cls(
            when=claim.created,
            state=claim.state,
            reason=claim.reason,
            event_id=claim.event_id,
            subject=f"models/{claim.model}:{claim.version}",
            workspace=claim.workspace,
            target=str(claim.target),
            route=claim.route,
            attempts=claim.attempts,
            next_try=claim.next_try,
            release_id=claim.release_id,
            release_name=claim.release_name,
            release_url=claim.release_url,
        )


@dataclass(frozen=True)
class Line:
    """A claim's place in its target's line: a newer version that went ahead, or an older one that is still starting."""

    newer: str = ""
    older: Claim | None = None


@dataclass(frozen=True)
class Known:
    """What the ledger holds of a model version: its claims, the event that told of it first, and why it was ignored."""

    claims: tuple[Claim, ...]
    event: str
    ignored: str = ""

    @property
    def claimed(self) -> frozenset[str]:
        """The names of the targets that have a claim."""
        return frozenset(name_of(claim.target) for claim in self.claims)

    @property
    def wanted(self) -> frozenset[str]:
        """The names of the targets that the event was for, where it was for several."""
        return frozenset(name for claim in self.claims for name in claim.beside.split())


def partition_of(workspace: Workspace, model: str) -> str:
    """Where the claims of a model's versions are kept."""
    return f"claim {digest(workspace.id)} {model}"


def row_of(version: str, target: Target, again: str = "") -> str:
    """Where in its partition a version's claim on a target is kept; `again` names the wish to start it once more."""
    return " ".join(filter(None, [version, name_of(target), again]))


def name_of(target: Target) -> str:
    """Names a target in one word."""
    return digest(target.key)


def key_of(partition: str, row: str) -> str:
    """Names a claim by the place where it is kept."""
    return digest(f"{partition}\n{row}", 32)


def marker_of(partition: str, row: str) -> str:
    """What stands in the description of a claim's release."""
    return f"[model-release {key_of(partition, row)}]"


def digest(text: str, length: int = 16) -> str:
    """A short name for a text, made of hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]

"""A history entry: the state of one model version at one target, or of an event that started nothing (pure)."""

from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

from model_release.domain.claims import NEVER, Claim, State
from model_release.reason import ReasonKind


class ByHand(NamedTuple):
    """Who does something manually, and why; only if `by_verified`, the platform signed the person in.

    `pins`: the version that is started is pinned.
    """

    by: str = ""
    by_verified: bool = False
    comment: str = ""
    pins: bool = False

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Return who started a claim, and why."""
        return cls(claim.by, claim.by_verified, claim.comment, claim.pins)


NOBODY = ByHand()


@dataclass(frozen=True)
class HistoryEntry:
    """One entry of the history; the last four values, of this attempt only, are not stored.

    `time` is when the state changed last, `received` when the event arrived or a person asked for the start. `claim`
    is the key of the claim and `line` the partition and the row of its high-water mark; both are empty without a claim.
    `log_reason` is the reason without values of tags and properties, empty if the reason has none.
    """

    time: datetime
    state: State
    reason: str
    reason_kind: ReasonKind
    event_id: str
    subject: str
    workspace: str = ""
    target: str = ""
    definition_id: int = 0
    route: str = ""
    attempt: int = 0
    next_attempt: datetime = NEVER
    release_id: int = 0
    release_name: str = ""
    release_url: str = ""
    by: str = ""
    by_verified: bool = False
    comment: str = ""
    received: datetime = NEVER
    restart: bool = False
    line: str = ""
    claim: str = ""
    milliseconds: int = field(default=0, compare=False)
    log_reason: str = field(default="", compare=False)
    unavailable: bool = field(default=False, compare=False)
    absent: bool = field(default=False, compare=False)

    @property
    def model_version(self) -> tuple[str, str]:
        """The model and the version of the subject; both empty if the subject has another form."""
        model, _, version = self.subject.removeprefix("models/").partition(":")
        return (model, version) if version and self.subject.startswith("models/") else ("", "")

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Build the entry of a claim."""
        return cls(
            time=claim.changed,
            state=claim.state,
            reason=claim.reason,
            reason_kind=claim.reason_kind,
            event_id=claim.event_id,
            subject=f"models/{claim.model}:{claim.version}",
            workspace=claim.workspace,
            target=str(claim.target),
            definition_id=claim.definition_id,
            route=claim.route,
            attempt=claim.attempt,
            next_attempt=claim.next_attempt,
            release_id=claim.release_id,
            release_name=claim.release_name,
            release_url=claim.release_url,
            by=claim.by,
            by_verified=claim.by_verified,
            comment=claim.comment,
            received=claim.created,
            restart=bool(claim.idempotency_key),
            claim=claim.key,
            line=f"{claim.partition} {claim.target_digest}",
        )


class HistoryQuery(NamedTuple):
    """A selection of entries; `continuation` is where a page begins.

    `pinned` selects lines with a pin. Model, target and workspace are parts of the names without regard to case, or
    patterns with `*`.
    """

    model: str = ""
    target: str = ""
    workspace: str = ""
    state: State | None = None
    open_only: bool = False
    pinned: bool = False
    since: datetime | None = None
    until: datetime | None = None
    ignored: bool = False
    continuation: str = ""
    limit: int = 50

    @property
    def has_text(self) -> bool:
        """Whether entries must be compared with a text."""
        return bool(self.model or self.target or self.workspace)

    def matches(self, entry: HistoryEntry) -> bool:
        """Whether the names of an entry match."""
        names = (entry.model_version[0], entry.target, entry.workspace.rpartition("/")[2])
        return all(map(_matches, (self.model, self.target, self.workspace), names))


def _matches(wanted: str, name: str) -> bool:
    wanted, name = wanted.casefold(), name.casefold()
    return fnmatchcase(name, wanted) if "*" in wanted else wanted in name


class HistoryPage(NamedTuple):
    """Some entries, newest first, and the continuation of the next page, empty at the end."""

    entries: tuple[HistoryEntry, ...]
    continuation: str

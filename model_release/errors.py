"""All errors. An error from Azure DevOps answers one question: may a release have been created?"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, NamedTuple, Self

from model_release.reason import Reason, ReasonKind


class Fault(NamedTuple):
    """A problem, how to fix it, and the setting or file that has it."""

    problem: str
    fix: str = ""
    where: str = ""

    def __str__(self) -> str:
        """Join the parts to one sentence."""
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.problem}" + (f"; {self.fix}" if self.fix else "")


class ModelReleaseError(Exception):
    """The root of all errors that this package raises."""


class ConfigurationError(ModelReleaseError):
    """Settings or release map are wrong; the message lists every fault."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(
            "\n".join([f"Model Release cannot start, {count}:", *(f"  - {fault}" for fault in self.faults)])
        )


class EventError(ModelReleaseError):
    """An event cannot be read as ModelRegistered; `subject` and `event_id` are empty if they cannot be read either."""

    def __init__(self, problems: Sequence[str], subject: str = "", event_id: str = "") -> None:
        self.reason = Reason(ReasonKind.EVENT_UNREADABLE, "; ".join(problems))
        self.subject = subject
        self.event_id = event_id
        super().__init__(self.reason.text)


class ClaimLeasedError(ModelReleaseError):
    """Another worker holds the lease of this claim; the event must be delivered again."""


class AzureDevOpsError(ModelReleaseError):
    """A request to Azure DevOps failed; `retry_after` is the pause that Azure DevOps asked for.

    `answered`: Azure DevOps answered, so that other requests may succeed. `kind` is that of the reason; by default, the
    class decides.
    """

    usual: ClassVar[ReasonKind] = ReasonKind.NO_ANSWER

    def __init__(
        self,
        problem: str,
        fix: str = "",
        *,
        kind: ReasonKind | None = None,
        retry_after: timedelta | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__(str(Fault(problem, fix)))
        self.problem = problem
        self.fix = fix
        self.retry_after = retry_after
        self.answered = answered
        self.reason = Reason(kind or self.usual, str(self))


class TemporaryError(AzureDevOpsError):
    """Nothing was created, and another attempt may succeed."""

    usual = ReasonKind.UNAVAILABLE


class RefusedError(AzureDevOpsError):
    """Nothing was created, and a person must change something first."""

    usual = ReasonKind.REFUSED

    @classmethod
    def of(cls, faults: Sequence[Fault], kind: ReasonKind) -> Self:
        """Report several faults as one refusal."""
        first, *others = faults
        return cls(first.problem, ". ".join(filter(None, [first.fix, *map(str, others)])), kind=kind)


class UnknownOutcomeError(AzureDevOpsError):
    """A release may have been created: find it by its marker before creating again."""

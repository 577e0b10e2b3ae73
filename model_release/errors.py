"""What can go wrong; an error of a start answers one question: may a release have started?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class ModelReleaseError(Exception):
    """The root of everything that this package raises on purpose."""


class ConfigurationError(ModelReleaseError):
    """Settings or release map are wrong; the message lists every fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(
            "\n".join([f"Model Release cannot start, {count}:", *(f"  - {fault}" for fault in self.faults)])
        )


class EventError(ModelReleaseError):
    """The event is not a ModelRegistered event that can be read; `subject` is what it says of itself."""

    def __init__(self, faults: Sequence[str], subject: str = "") -> None:
        self.subject = subject
        super().__init__("; ".join(faults))


class ClaimHeld(ModelReleaseError):  # noqa: N818  a state of the world, not an error of ours
    """Somebody else is at work on this claim; the event must be delivered again later."""


class StartError(ModelReleaseError):
    """A release was not seen to start; `retry_after` is how long Azure DevOps asked to be left alone."""

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Busy(StartError):  # noqa: N818  the answer to the question, as is Refused and Unknown
    """No release started, and trying again is all that it needs."""


class Refused(StartError):  # noqa: N818
    """No release started, and a person must change something first."""


class Unknown(StartError):  # noqa: N818
    """A release may have started: look before trying again."""

"""What the app does while a setting or the release map is wrong: report every fault, and nothing else."""

from dataclasses import dataclass
from typing import Any, NoReturn

from model_release.errors import ConfigurationError
from model_release.log import log_cannot_start


@dataclass(frozen=True, eq=False, repr=False)
class CannotStart:
    """Takes the place of every service, because without its functions the platform answers 404 to everything."""

    error: ConfigurationError

    def check(self) -> dict[str, Any]:
        """Return the faults as the health of the app."""
        return {"healthy": False, "faults": [fault._asdict() for fault in self.error.faults]}

    def run(self) -> None:
        """Log the faults in place of a sweep or a catch-up."""
        log_cannot_start(self.error.faults)

    def __getattr__(self, name: str) -> NoReturn:
        """Raise ConfigurationError for everything else, so that Event Grid delivers the event again."""
        raise self.error

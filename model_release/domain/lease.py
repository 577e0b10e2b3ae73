"""The time budget of one attempt (pure).

    acquired                                                              lease_until
       |------------- 1/3 ------------|------------- 1/3 ------------|------ 1/3 ------|
       | claim, mark, throttle        | find the target, build       | the POST ends   |
       |                              | the request                  |                 |
       |                              ^ create_by                    ^ send_by

An attempt that reaches `create_by` or `send_by` too late creates nothing and is repeated. So a request is sent at the
end of the second third at the latest, and the last third is longer than a request can last.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# A request may last one timeout, and the lease has three parts.
LEAST_TIMEOUTS = 3


@dataclass(frozen=True)
class Lease:
    """How long one worker alone may work on a claim."""

    duration: timedelta

    def until(self, acquired: datetime) -> datetime:
        """When a lease ends that was acquired at this time."""
        return acquired + self.duration

    def create_by(self, lease_until: datetime) -> datetime:
        """Until when the attempt may begin to create."""
        return lease_until - self.duration * 2 / 3

    @property
    def preparation(self) -> timedelta:
        """How long the search for the target and the building of the request may take."""
        return self.duration / 3

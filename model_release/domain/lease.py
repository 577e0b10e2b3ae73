"""The time budget of one attempt (pure).

    acquired              deadline                   lease_until                in_flight_until
       |--------------------|-----------|----- 1/3 -----|-------- one lease --------|
       | guards, target,    | the POST  | another       | a request may land late, |
       | body, token        | ends      | third to      | and clocks may differ    |

The request is sent before the deadline, or not at all. The deadline is a third of the lease and the longest request
before `lease_until`, on a clock that nobody sets. No release is created twice as long as

    time from sending to landing + difference of two clocks < one lease.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

# A connection is tried twice with a quarter of the timeout each, and then the answer is waited for.
REQUEST_TIMEOUTS = 1.5
# Leaves half a timeout for the preparation.
LEAST_TIMEOUTS = 3


class Lease(NamedTuple):
    """How long one worker alone may work on a claim, and the timeout of one request."""

    duration: timedelta
    timeout: timedelta

    def until(self, acquired: datetime) -> datetime:
        """When a lease ends that was acquired at this time."""
        return acquired + self.duration

    def in_flight_until(self, acquired: datetime) -> datetime:
        """Until when a request of an attempt may be carried out that was acquired at this time."""
        return self.until(acquired) + self.duration

    def deadline(self, acquired: float) -> float:
        """Until when the request may be sent, in seconds of the monotonic clock."""
        return acquired + (self.duration * 2 / 3 - self.timeout * REQUEST_TIMEOUTS).total_seconds()

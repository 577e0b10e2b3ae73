"""Schedules of timers, as the Functions host reads them (pure).

https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

from model_release.text import shorten

_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# The name of each field, its least and its highest value, and the names of its values.
_FIELDS: Sequence[tuple[str, int, int, Sequence[str]]] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_PART = re.compile(r"(?:(\*)|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/(\d{1,2}))?", re.IGNORECASE | re.ASCII)
_EXAMPLE = "write six fields, such as '0 */5 * * * *' for every five minutes"
# Every 29 February and each day of the week occur within this time.
_DAYS_TO_SEE = 366 * 28


class ScheduleError(ValueError):
    """The text is not a schedule: the problem and its fix."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.fix = _EXAMPLE


class Schedule(NamedTuple):
    """A schedule, and the longest time between two of its runs."""

    text: str
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read an NCRONTAB expression of six fields; raises ScheduleError."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise ScheduleError(f"{shorten(text)!r} has {len(fields)} fields, not 6")
        seconds, minutes, hours, *days = (_values(field, *of) for field, of in zip(fields, _FIELDS, strict=True))
        in_a_day = [3600 * hour + 60 * minute for hour in hours for minute in minutes]
        times = sorted({begin + second for begin in in_a_day for second in seconds})
        is_daily = [len(values) for values in days] == [31, 12, 7]
        found = [0, 1] if is_daily else [day.toordinal() for day in _days(*days)]
        if not found:
            raise ScheduleError(f"{shorten(text)!r} never occurs")
        within = max((later - time for time, later in pairwise(times)), default=0)
        most_days = max(later - day for day, later in pairwise(found))
        overnight = most_days * 24 * 3600 - times[-1] + times[0]
        return cls(" ".join(fields), timedelta(seconds=max(within, overnight)))


def _days(days: Sequence[int], months: Sequence[int], days_of_week: Sequence[int]) -> Iterator[date]:
    """List the days that match; the day of the month and the day of the week must both match."""
    first = date(2024, 1, 1).toordinal()
    for day in map(date.fromordinal, range(first, first + _DAYS_TO_SEE)):
        if day.month in months and day.day in days and day.isoweekday() % 7 in days_of_week:
            yield day


def _values(field: str, name: str, least: int, most: int, names: Sequence[str]) -> list[int]:
    values: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ScheduleError(f"the {name} {shorten(field)!r} cannot be read")
        every, first, last, step = match.groups()
        begin = least if every else _number(first, name, least, most, names)
        # The host reads `5/15` as 5, 20, 35 and 50.
        end = _number(last, name, least, most, names) if last else most if every or step else begin
        if step and int(step) == 0:
            raise ScheduleError(f"the {name} {shorten(field)!r} has the step 0")
        if end < begin:
            raise ScheduleError(f"the {name} {shorten(field)!r} ends before it begins")
        values.update(range(begin, end + 1, int(step or 1)))
    return sorted(values)


def _number(text: str, name: str, least: int, most: int, names: Sequence[str]) -> int:
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    if text[:3].lower() in names and text[:3]:
        return names.index(text[:3].lower())
    raise ScheduleError(f"the {name} {shorten(text)!r} is not from {least} to {most}")

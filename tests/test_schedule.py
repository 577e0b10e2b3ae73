"""Schedules: what the Functions host reads is accepted with its longest period, and all else is a fault with a fix."""

from datetime import timedelta

import pytest

from model_release.settings.schedule import Schedule, ScheduleError

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("0 */5 * * * *", 5 * MINUTE),
        ("0  7 * * * *", HOUR),
        ("*/10 * * * * *", timedelta(seconds=10)),
        ("0 */7 * * * *", 7 * MINUTE),
        ("0 0,10 * * * *", 50 * MINUTE),
        ("30 5/15 8-18 * * *", 13 * HOUR + 15 * MINUTE),
        ("0 0 6 * * 1-5", 3 * DAY),
        ("0 0 6 * * Mon,wednesday", 5 * DAY),
        ("0 0 0 1 JAN *", 366 * DAY),
        ("0 0 0 29 2 *", (4 * 365 + 1) * DAY),
    ],
)
def test_a_schedule_has_the_longest_time_between_two_runs(text: str, period: timedelta) -> None:
    schedule = Schedule.parse(text)

    assert schedule == Schedule(" ".join(text.split()), period)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' has 0 fields, not 6"),
        ("*/5 * * * *", "'*/5 * * * *' has 5 fields, not 6"),
        ("00:05:00", "'00:05:00' has 1 fields, not 6"),
        ("%SCHEDULE%", "has 1 fields, not 6"),
        ("60 * * * * *", "the second '60' is not from 0 to 59"),
        ("0 0 24 * * *", "the hour '24' is not from 0 to 23"),
        ("0 0 0 0 * *", "the day '0' is not from 1 to 31"),
        ("0 0 0 * 13 *", "the month '13' is not from 1 to 12"),
        ("0 0 0 * foo *", "the month 'foo' is not from 1 to 12"),
        ("0 0 0 * * 7", "the day of the week '7' is not from 0 to 6"),
        ("0 */0 * * * *", "the minute '*/0' has the step 0"),
        ("0 30-10 * * * *", "the minute '30-10' ends before it begins"),
        ("0 5, * * * *", "the minute '5,' cannot be read"),
        ("0 ? * * * *", "the minute '?' cannot be read"),
        ("0 -5 * * * *", "the minute '-5' cannot be read"),
        ("0 \u0665 * * * *", "the minute '\u0665' cannot be read"),
        ("0 */\u0665 * * * *", "the minute '*/\u0665' cannot be read"),
        ("0 0 0 30 2 *", "'0 0 0 30 2 *' never occurs"),
    ],
)
def test_what_is_not_a_schedule_has_a_problem_and_a_fix(text: str, problem: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(text)

    assert problem in str(caught.value)
    assert caught.value.fix == "write six fields, such as '0 */5 * * * *' for every five minutes"

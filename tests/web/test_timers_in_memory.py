"""Health of the timers: old sweeps and catch-ups are unhealthy, a new app is not."""

from datetime import timedelta
from typing import Any

import pytest

from model_release.domain.events import Workspace
from model_release.store.catch_up_cursor import CatchUpCursor
from model_release.store.pending import LastSweep
from model_release.web.timers import OLDEST_SWEEP, Timers
from tests.in_memory import HOUR, MINUTE, NOON, SECOND, WORKSPACE, Process

OTHER = Workspace.parse(WORKSPACE.id.removesuffix("prod") + "test")
OLDEST = 25 * MINUTE
LOG = "read the log of missed_models"


@pytest.fixture
def process() -> Process:
    return Process()


def timers(process: Process, *workspaces: Workspace, period: timedelta = 5 * MINUTE) -> Timers:
    last_sweep = LastSweep(process.table, process.clock)
    return Timers(frozenset(workspaces or [WORKSPACE]), last_sweep, process.cursors, period, process.clock)


def listed(process: Process, workspace: Workspace = WORKSPACE, **times: Any) -> None:
    values = {"began": NOON, "complete": NOON, "ran": NOON, "succeeded": NOON} | times
    process.cursors.write(workspace, CatchUpCursor(**values))


@pytest.mark.parametrize(("period", "oldest"), [(5 * MINUTE, OLDEST), (HOUR, 3 * HOUR + 10 * MINUTE)])
def test_the_limits_are_ten_minutes_and_three_periods_with_a_long_run(period: timedelta, oldest: timedelta) -> None:
    assert OLDEST_SWEEP == 10 * MINUTE
    assert timers(Process(), period=period).oldest_catch_up == oldest


def sweep(process: Process, attempts: int) -> None:
    last_sweep = timers(process).last_sweep
    last_sweep.end(last_sweep.begin(MINUTE), attempts)


def test_the_last_sweep_is_shown(process: Process) -> None:
    sweep(process, 2)
    process.later(10 * MINUTE)

    assert timers(process).sweep() == {"last": "2030-01-01T12:00:00Z", "attempts": 2}


def test_an_old_sweep_is_not_healthy(process: Process) -> None:
    sweep(process, 2)
    process.later(10 * MINUTE + SECOND)

    assert timers(process).sweep() == {
        "ok": False,
        "error": "the last sweep ended at 2030-01-01T12:00:00Z; read the log of unfinished_releases",
    }


def test_an_app_that_never_swept_is_not_healthy(process: Process) -> None:
    assert timers(process).sweep() == {
        "ok": False,
        "error": "no sweep has ended yet; it is due within a minute, or read the log of unfinished_releases",
    }


def test_the_last_catch_up_of_each_workspace_is_shown(process: Process) -> None:
    listed(process)
    listed(process, OTHER, ran=NOON + HOUR, problem="503")
    process.later(OLDEST)

    assert timers(process, WORKSPACE, OTHER).catch_up() == {
        "workspaces": [
            {"workspace": WORKSPACE.id, "last": "2030-01-01T12:00:00Z", "problem": None},
            {"workspace": OTHER.id, "last": "2030-01-01T13:00:00Z", "problem": "503"},
        ]
    }


@pytest.mark.parametrize(
    ("cursor", "error"),
    [
        ({}, f"workspace Prod was last listed completely at 2030-01-01T12:00:00Z; {LOG}"),
        (
            {"ran": NOON + HOUR, "problem": "503; wait"},
            "workspace Prod was last listed completely at 2030-01-01T12:00:00Z; 503; wait",
        ),
    ],
)
def test_a_complete_catch_up_too_long_ago_is_not_healthy(process: Process, cursor: dict[str, Any], error: str) -> None:
    listed(process, **cursor)
    listed(process, OTHER, succeeded=NOON + HOUR)
    process.later(OLDEST + SECOND)

    checked = timers(process, WORKSPACE, OTHER).catch_up()

    assert (checked["ok"], checked["error"]) == (False, error)
    assert len(checked["workspaces"]) == 2


def test_a_first_catch_up_that_failed_is_not_healthy_at_once(process: Process) -> None:
    process.cursors.write(WORKSPACE, CatchUpCursor(NOON, NOON, ran=NOON, problem="403; grant the actions"))

    assert timers(process).catch_up()["error"] == ("workspace Prod was never listed completely; 403; grant the actions")


@pytest.mark.parametrize(("later", "healthy"), [(OLDEST, True), (OLDEST + SECOND, False)])
def test_a_first_catch_up_that_was_cut_off_is_not_healthy_after_a_while(
    process: Process, later: timedelta, *, healthy: bool
) -> None:
    process.cursors.write(WORKSPACE, CatchUpCursor(NOON, NOON))
    process.later(later)

    checked = timers(process).catch_up()

    assert checked["workspaces"] == [{"workspace": WORKSPACE.id, "last": None, "problem": None}]
    assert checked.get("error") == (None if healthy else f"workspace Prod was never listed completely; {LOG}")


@pytest.mark.parametrize(("later", "healthy"), [(OLDEST, True), (OLDEST + SECOND, False)])
def test_an_app_whose_catch_up_never_ran_is_not_healthy_a_while_after_its_first_sweep(
    process: Process, later: timedelta, *, healthy: bool
) -> None:
    assert timers(process).catch_up().get("ok", True)
    sweep(process, 0)
    process.later(later)
    sweep(process, 0)

    checked = timers(process).catch_up()

    assert checked.get("error") == (None if healthy else f"workspace Prod was never listed; {LOG}")


def test_a_workspace_that_was_added_lately_is_healthy(process: Process) -> None:
    sweep(process, 0)
    process.later(100 * HOUR)
    now = process.clock()
    listed(process, ran=now, succeeded=now)

    assert "ok" not in timers(process, WORKSPACE, OTHER).catch_up()

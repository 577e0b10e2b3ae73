"""The last sweep: its time and result, and the time of the first one."""

from model_release.store.last_sweep import LastSweep, SweepRun
from tests.in_memory import HOUR, MINUTE, NOON, Process, values


def test_the_last_sweep_is_recorded_and_the_time_of_the_first_one_is_kept() -> None:
    process = Process()
    last_sweep = LastSweep(process.table, process.clock)
    assert last_sweep.read() is None

    last_sweep.write(3)
    assert last_sweep.read() == SweepRun(NOON, NOON, 3)
    process.later(HOUR)
    last_sweep.write(0)
    process.later(MINUTE)

    assert last_sweep.read() == SweepRun(NOON, NOON + HOUR, 0)
    assert values(process.rows("sweep")["sweep"]) == {"first": NOON, "last": NOON + HOUR, "attempts": 0}

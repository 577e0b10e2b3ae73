"""Catch-up cursors: one for each workspace, and one lease for all."""

import pytest
from azure.core.exceptions import ResourceModifiedError

from model_release.domain.claims import NEVER, digest
from model_release.domain.events import Workspace
from model_release.store.catch_up_cursor import CatchUpCursor, CatchUpLease, ListedModel, TagsAndProperties
from tests.in_memory import HOUR, MINUTE, NOON, SECOND, WORKSPACE, Process, values

OTHER = Workspace.parse(WORKSPACE.id.removesuffix("prod") + "test")


def test_each_workspace_has_its_cursor() -> None:
    process = Process()
    first, second = CatchUpCursor(NOON, NOON + HOUR), CatchUpCursor(NOON, NOON)

    process.cursors.write(WORKSPACE, second)
    process.cursors.write(WORKSPACE, first)

    assert process.cursors.read(WORKSPACE) == first
    assert process.cursors.read(OTHER) is None
    process.cursors.write(OTHER, second)
    assert (process.cursors.read(WORKSPACE), process.cursors.read(OTHER)) == (first, second)
    assert values(process.rows("catch_up_cursor")[digest(WORKSPACE.id)]) == {
        "workspace": WORKSPACE.id,
        "began": NOON,
        "complete": NOON + HOUR,
        "recorded": NEVER,
        "ran": NEVER,
        "succeeded": NEVER,
        "problem": "",
        "paused_until": NEVER,
    }


def test_a_cursor_is_read_as_it_was_written() -> None:
    process = Process()
    cursor = CatchUpCursor(NOON, NOON + HOUR, NOON, NOON + 2 * HOUR, NOON - HOUR, "503", NOON + MINUTE)

    process.cursors.write(WORKSPACE, cursor)

    assert process.cursors.read(WORKSPACE) == cursor


def test_existing_versions_are_read_as_they_were_recorded() -> None:
    process = Process()
    existing = {"churn": {"1": TagsAndProperties({"a": "\u6a21\ud800"}, {}), "2": TagsAndProperties({}, {"b": ""})}}
    assert process.cursors.existing(WORKSPACE) == {}

    process.cursors.record_existing(WORKSPACE, existing, existing)

    assert process.cursors.existing(WORKSPACE) == existing
    assert process.cursors.existing(OTHER) == {}


def test_only_the_rows_of_models_that_changed_are_written() -> None:
    process = Process()
    listed = {f"m{number}": ListedModel(f"{number}", NOON) for number in range(5000)}
    process.cursors.record_listed(WORKSPACE, listed, listed)
    assert process.cursors.listed(WORKSPACE) == listed
    process.client.operations.clear()
    listed["m7"], gone = ListedModel("", NEVER), listed.pop("m8")

    process.cursors.record_listed(WORKSPACE, listed, ["m7", "m8"])
    process.cursors.record_listed(WORKSPACE, listed, [])

    assert gone
    assert process.cursors.listed(WORKSPACE) == listed
    assert len(process.rows(f"catch_up_listed {digest(WORKSPACE.id)}")) == 16
    assert process.client.operations.count("upsert_entity") == len({digest("m7", 1), digest("m8", 1)}) == 2


def test_20_000_versions_with_usual_tags_fit_into_16_rows() -> None:
    process = Process()
    usual = {
        f"model_{model}": {
            str(n): TagsAndProperties(
                {"stage": "production", "run": f"run {model * 100 + n}", "auc": str(n / 7)}, {"git": digest(str(n))}
            )
            for n in range(500)
        }
        for model in range(40)
    }

    process.cursors.record_existing(WORKSPACE, usual, usual)

    rows = process.rows(f"catch_up_existing {digest(WORKSPACE.id)}")
    # A row holds 1 MiB, a property 64 KiB.
    assert len(rows) <= 16
    assert max(len(row[name]) for row in rows.values() for name in values(row)) <= 2**16
    assert max(sum(len(row[name]) for name in values(row)) for row in rows.values()) <= 2**20 / 2


def test_one_run_has_the_lease_until_it_ends_it_or_does_not_renew_it() -> None:
    process = Process()
    lease = CatchUpLease(process.table, process.clock, 3 * MINUTE)
    held = lease.acquire()
    assert held
    assert values(process.rows("catch_up_cursor")["lease"]) == {"lease_until": NOON + 3 * MINUTE}
    assert lease.acquire() is None
    process.later(29 * SECOND)
    assert not held.renew_in_time()
    process.later(SECOND)
    assert held.renew_in_time()
    assert not held.renew_in_time()
    process.later(3 * MINUTE - SECOND)
    assert lease.acquire() is None
    process.later(SECOND)

    other = lease.acquire()

    assert other
    with pytest.raises(ResourceModifiedError):
        held.renew_in_time()
    held.release()
    assert lease.acquire() is None
    other.release()
    assert lease.acquire()


@pytest.mark.parametrize("existed", [False, True])
def test_of_two_runs_that_begin_at_once_one_has_the_lease(*, existed: bool) -> None:
    process = Process()
    lease = CatchUpLease(process.table, process.clock, 3 * MINUTE)
    if existed:
        held = lease.acquire()
        assert held
        held.release()
    others: list[object] = []
    process.once("before update_entity" if existed else "before create_entity", lambda: others.append(lease.acquire()))

    assert lease.acquire() is None
    assert len(others) == 1
    assert others[0]

"""Catch-up cursors: one for each workspace."""

from random import Random

from model_release.domain.claims import NEVER, digest
from model_release.domain.events import Workspace
from model_release.store.catch_up_cursor import CatchUpCursor, TagsAndProperties
from tests.in_memory import HOUR, NOON, WORKSPACE, Process, values

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
    }


def test_a_cursor_is_read_as_it_was_written() -> None:
    process = Process()
    cursor = CatchUpCursor(NOON, NOON + HOUR, NOON, NOON + 2 * HOUR, NOON - HOUR, "503")

    process.cursors.write(WORKSPACE, cursor)

    assert process.cursors.read(WORKSPACE) == cursor


def test_existing_versions_are_read_as_they_were_recorded() -> None:
    process = Process()
    existing = {"churn": {"1": TagsAndProperties({"a": "\u6a21\ud800"}, {}), "2": TagsAndProperties({}, {"b": ""})}}
    assert process.cursors.existing(WORKSPACE) == {}

    process.cursors.record_existing(WORKSPACE, existing)

    assert process.cursors.existing(WORKSPACE) == existing
    assert process.cursors.existing(OTHER) == {}


def test_a_longer_record_that_was_cut_off_does_not_spoil_the_next_one() -> None:
    process = Process()
    values = Random(1)
    longer = {"m": {str(n): TagsAndProperties({"t": values.randbytes(50).hex()}, {}) for n in range(15_000)}}
    shorter = {"m": {"1": TagsAndProperties({}, {})}}
    process.cursors.record_existing(WORKSPACE, longer)
    rows = process.rows(f"catch_up_existing {digest(WORKSPACE.id)}")
    assert len(rows) > 10
    assert max(len(row["part"]) for row in rows.values()) <= 2**16
    assert process.cursors.existing(WORKSPACE) == longer

    process.cursors.record_existing(WORKSPACE, shorter)

    assert process.cursors.existing(WORKSPACE) == shorter


def test_20_000_versions_with_usual_tags_fit_into_20_rows() -> None:
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

    process.cursors.record_existing(WORKSPACE, usual)

    assert len(process.rows(f"catch_up_existing {digest(WORKSPACE.id)}")) <= 20

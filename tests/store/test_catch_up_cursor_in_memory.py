"""Catch-up cursors: one for each workspace."""

from model_release.domain.claims import digest
from model_release.domain.events import Workspace
from model_release.store.catch_up_cursor import CatchUpCursor
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
    }

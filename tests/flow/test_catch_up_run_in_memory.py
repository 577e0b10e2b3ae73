"""A catch-up run of one workspace: since when it lists a model, and what it keeps for the next run."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from model_release.azure_ml.items import ModelContainer, ModelVersion
from model_release.domain.claims import NEVER
from model_release.domain.events import Workspace
from model_release.flow.catch_up_run import EVENT_WITHIN, LISTED_EVERY, CatchUpRun
from model_release.store.catch_up_cursor import CatchUpCursor, ListedModel
from tests.in_memory import DAY, HOUR, MINUTE, NOON, SECOND, WORKSPACE

BEGAN = NOON - 30 * DAY
CURSOR = CatchUpCursor(BEGAN, NOON - HOUR, recorded=BEGAN, ran=NOON - HOUR, succeeded=NOON - HOUR)
FIRST = CatchUpCursor(NOON, NOON)
CHURN = ModelContainer("churn", "a stamp")
REGISTRY = Workspace.parse(WORKSPACE.id.replace("workspaces/prod", "registries/Shared"))


def a_run(cursor: CatchUpCursor = CURSOR, listed: dict[str, ListedModel] | None = None, **values: Any) -> CatchUpRun:
    run = CatchUpRun(
        **{"workspace": WORKSPACE, "now": NOON, "cursor": cursor, "existing": {}} | values, listed=listed or {}
    )
    run.of([ModelContainer(name, "a stamp") for name in run.listed])
    return run


def version(created: datetime = NOON, state: str = "", **tags: str) -> ModelVersion:
    return ModelVersion(WORKSPACE, "churn", "20", created, tags, {}, state)


@pytest.mark.parametrize(
    ("cursor", "listed", "since"),
    [
        (CURSOR, None, NOON - 14 * DAY),
        (CURSOR, ListedModel("", NOON - MINUTE), NOON - 14 * DAY),
        (CURSOR, ListedModel("", NOON - 20 * DAY), NOON - 20 * DAY - HOUR),
        (CURSOR, ListedModel("", NOON - 40 * DAY), BEGAN),
        (CURSOR, ListedModel("", NEVER), NEVER),
        (CURSOR._replace(complete=NOON - 20 * DAY), None, NOON - 20 * DAY - HOUR),
        (CURSOR._replace(recorded=NOON - 14 * DAY), None, NOON - 14 * DAY),
        (CURSOR._replace(recorded=NOON - 14 * DAY + SECOND), None, NEVER),
        (FIRST, None, NEVER),
        (FIRST, ListedModel("", NOON), NEVER),
    ],
)
def test_a_model_is_listed_since_it_was_listed_last_and_for_14_days(
    cursor: CatchUpCursor, listed: ListedModel | None, since: datetime
) -> None:
    run = a_run(cursor, {"churn": listed} if listed else {})

    assert run.since("churn") == since


@pytest.mark.parametrize(
    ("state", "again", "stamp"),
    [("", False, "a stamp"), ("", True, ""), ("Creating", False, ""), ("Failed", False, "a stamp")],
)
def test_a_model_is_listed_again_by_the_next_run_if_this_one_asks_for_it_or_a_version_is_coming(
    state: str, stamp: str, *, again: bool
) -> None:
    run = a_run()
    created = NOON - MINUTE if state == "Creating" else NOON

    run.found(CHURN, [version(created, state)], again=again)

    assert run.listed == {"churn": ListedModel(stamp, created)}
    assert run.changed == {"churn"}


def test_a_model_whose_versions_are_all_new_has_nothing_to_record() -> None:
    run = a_run(FIRST)

    run.found(CHURN, [version(NOON)])

    assert (run.existing, run.recorded) == ({}, set())


def test_a_model_that_was_found_is_not_asked_for_again() -> None:
    run = a_run()

    run.found(CHURN, [])

    assert run.listed == {"churn": ListedModel("a stamp", NOON)}


@pytest.mark.parametrize(
    ("cursor", "listed", "until"),
    [
        (CURSOR, None, CURSOR.complete),
        (CURSOR, ListedModel("a stamp", NOON - DAY), NOON - DAY),
        (FIRST, None, NEVER),
        (FIRST, ListedModel("a stamp", NOON - DAY), NOON - DAY),
    ],
)
def test_a_model_that_could_not_be_listed_keeps_its_time_and_loses_its_stamp(
    cursor: CatchUpCursor, listed: ListedModel | None, until: datetime
) -> None:
    run = a_run(cursor, {"churn": listed} if listed else {})

    run.not_found(CHURN)

    assert run.listed == {"churn": ListedModel("", until)}
    assert run.changed == {"churn"}


@pytest.mark.parametrize(("ago", "is_due"), [(LISTED_EVERY, True), (LISTED_EVERY - SECOND, False)])
def test_an_unchanged_model_is_due_after_59_minutes(ago: timedelta, *, is_due: bool) -> None:
    run = a_run(listed={"churn": ListedModel("a stamp", NOON - ago)})

    assert run.due(changed=False) == ([CHURN] if is_due else [])
    assert run.due(changed=True) == []


def test_a_run_without_time_ends_with_the_number_of_models_that_cannot_wait() -> None:
    times = {"late": 2 * LISTED_EVERY + SECOND, "later": 2 * LISTED_EVERY + HOUR, "waits": 2 * LISTED_EVERY}
    run = a_run(listed={name: ListedModel("a stamp", NOON - ago) for name, ago in times.items()})
    run.listed["changed"] = ListedModel("before", NOON)
    run.of([*run.models.values(), ModelContainer("changed", "after"), ModelContainer("new", "")])

    run.stop()

    assert (run.ended, run.problem) == (True, "4 models are not listed yet; the next run continues")


def test_a_run_without_time_that_left_nothing_urgent_succeeds_without_being_complete() -> None:
    run = a_run(listed={"churn": ListedModel("a stamp", NOON - HOUR)})

    run.stop()

    assert run.next_cursor() == CURSOR._replace(ran=NOON, succeeded=NOON)


@pytest.mark.parametrize(
    ("workspace", "ago", "is_awaited"),
    [
        (WORKSPACE, EVENT_WITHIN, False),
        (WORKSPACE, EVENT_WITHIN + SECOND, True),
        (REGISTRY, EVENT_WITHIN + SECOND, False),
        (REGISTRY, EVENT_WITHIN, False),
    ],
)
def test_an_event_is_awaited_for_15_minutes_and_never_from_a_registry(
    workspace: Workspace, ago: timedelta, *, is_awaited: bool
) -> None:
    assert a_run(workspace=workspace).awaited(version(NOON - ago)) == is_awaited

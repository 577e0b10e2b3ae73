"""Catch-up: what no event announced is started, and nothing from before its first run."""

import json
import logging
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ResourceModifiedError

from model_release.azure_ml.items import AzureMlError, ModelContainer, ModelListError, ModelVersion, Skip
from model_release.domain.claims import MARKER_BEGINS, NEVER, State
from model_release.domain.events import MODEL_REGISTERED, Workspace, parse
from model_release.flow.catch_up import LIST_THREADS, LONGEST_RUN, list_threads
from model_release.flow.catch_up_run import OVERLAP, PROMOTED_WITHIN
from model_release.flow.confirm import event_of
from model_release.store.catch_up_cursor import CatchUpCursor, ListedModel, TagsAndProperties
from tests.in_memory import (
    CREATED,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    OTHER_TARGET,
    SECOND,
    TARGET,
    WORKSPACE,
    Process,
    a_map,
    event_body,
    incompressible,
)
from tests.proof.workers import Killed

OTHER = Workspace.parse(WORKSPACE.id.removesuffix("prod") + "A")


class AzureMl:
    """Lists model versions, or fails; `stamps` are those of the models, which are all different without one."""

    def __init__(self) -> None:
        self.stamps: dict[str, str] = {}
        self.asked_for_models = 0
        self.listed: dict[str, dict[str, list[ModelVersion] | Exception]] = {}
        self.asked: list[tuple[str, datetime]] = []
        self.skipped: list[AzureMlError] = []

    def register(
        self, version: str, created: datetime, model: str = "churn", state: str = "", **tags: str
    ) -> ModelVersion:
        one = ModelVersion(WORKSPACE, model, version, created, tags, {"kind": "test"}, state)
        self.listed.setdefault(WORKSPACE.id, {}).setdefault(model, []).append(one)
        return one

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        versions = self.listed.get(workspace.id, {}).get(model, [])
        return next((one for one in versions if one.version == version), None)

    def models(self, workspace: Workspace, **_: Any) -> list[ModelContainer]:
        self.asked_for_models += 1
        models = self.listed.get(workspace.id, {})
        if isinstance(models, Exception):
            raise models
        return [ModelContainer(name, self.stamps.get(name, str(self.asked_for_models))) for name in models]

    def versions(self, workspace: Workspace, model: str, *, since: datetime, skip: Skip) -> list[ModelVersion]:
        self.asked.append((model, since))
        for problem in self.skipped:
            skip(problem)
        versions = self.listed[workspace.id][model]
        if isinstance(versions, Exception):
            raise versions
        return versions


@pytest.fixture
def process() -> Process:
    return Process(order="every")


@pytest.fixture
def azure_ml() -> AzureMl:
    return AzureMl()


def began(process: Process, **cursor: datetime) -> None:
    """Write the cursor of a first run a month ago."""
    long_ago, last = NOON - 30 * DAY, NOON - HOUR
    values = {"began": long_ago, "complete": last, "recorded": long_ago, "ran": last, "succeeded": last} | cursor
    process.cursors.write(WORKSPACE, CatchUpCursor(**values))


def run(process: Process, azure_ml: AzureMl) -> list[str]:
    return [entry.subject.partition(":")[2] for entry in process.catch_up(azure_ml).run()]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    read = [json.loads(record.getMessage()) for record in caplog.records if record.name == "model_release.log"]
    return [line for line in read if line["event"] == "catch_up"]


def read(process: Process) -> CatchUpCursor:
    cursor = process.cursors.read(WORKSPACE)
    assert cursor
    return cursor


def test_the_first_run_records_what_exists_and_starts_nothing(process: Process, azure_ml: AzureMl, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    azure_ml.register("20", NOON - SECOND, stage="test")

    assert run(process, azure_ml) == []

    assert read(process) == CatchUpCursor(NOON, NOON, recorded=NOON, ran=NOON, succeeded=NOON)
    assert process.cursors.existing(WORKSPACE) == {"churn": {"20": ({"stage": "test"}, {"kind": "test"})}}
    assert azure_ml.asked == [("churn", NEVER)]
    assert lines(caplog) == [
        {"event": "catch_up", "workspace": WORKSPACE.id, "listed": 1, "started": 0, "unannounced": 0, "complete": True}
    ]


def test_a_first_run_that_fails_keeps_its_time_and_the_next_run_records_what_existed_before(
    process: Process, azure_ml: AzureMl
) -> None:
    azure_ml.listed[WORKSPACE.id] = AzureMlError("403", "grant Reader")
    assert run(process, azure_ml) == []
    assert read(process) == CatchUpCursor(NOON, NOON, ran=NOON, problem="403; grant Reader")
    azure_ml.listed.clear()
    azure_ml.register("20", NOON - SECOND)
    azure_ml.register("21", NOON)
    process.later(HOUR)

    assert run(process, azure_ml) == ["21"]

    assert read(process) == CatchUpCursor(
        NOON, NOON + HOUR, recorded=NOON + HOUR, ran=NOON + HOUR, succeeded=NOON + HOUR
    )
    assert list(process.cursors.existing(WORKSPACE)["churn"]) == ["20"]


def test_a_first_run_that_is_cut_off_keeps_its_time(process: Process, azure_ml: AzureMl) -> None:
    azure_ml.listed[WORKSPACE.id] = RuntimeError("the process ends")
    with pytest.raises(RuntimeError):
        run(process, azure_ml)

    assert read(process) == CatchUpCursor(NOON, NOON)


def test_a_model_that_cannot_be_listed_does_not_keep_the_others_from_being_recorded(
    process: Process, azure_ml: AzureMl
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="*", tags={"a": "b"}))
    azure_ml.listed[WORKSPACE.id] = {"broken": ModelListError("503"), "other": ModelListError("504")}
    azure_ml.register("20", NOON - SECOND)
    run(process, azure_ml)

    assert list(process.cursors.existing(WORKSPACE)) == ["churn"]
    assert (read(process).recorded, read(process).succeeded, read(process).problem) == (NOON, NEVER, "503")
    azure_ml.listed[WORKSPACE.id] = {}
    azure_ml.register("1", NOON - SECOND, "broken", a="b")
    azure_ml.register("2", NOON - 400 * DAY, "broken")
    azure_ml.register("3", NOON, "broken", a="b")
    azure_ml.register("20", NOON - SECOND, a="b")
    process.later(DAY)

    assert sorted(run(process, azure_ml)) == ["20", "3"]

    assert sorted(process.cursors.existing(WORKSPACE)["broken"]) == ["1", "2"]
    azure_ml.listed[WORKSPACE.id] = {}
    azure_ml.register("2", NOON - 400 * DAY, "broken", a="b")
    process.later(HOUR)
    assert run(process, azure_ml) == ["2"]


def test_every_version_is_listed_for_14_days_after_the_existing_ones_were_recorded(
    process: Process, azure_ml: AzureMl
) -> None:
    azure_ml.register("20", NOON - SECOND)
    for later in (0 * DAY, 14 * DAY - SECOND, SECOND):
        process.later(later)
        run(process, azure_ml)

    assert [since for _, since in azure_ml.asked] == [NEVER, NEVER, NOON]


@pytest.mark.parametrize(
    ("before", "now", "started"),
    [
        ({"stage": "test"}, {"stage": "production"}, ["20"]),
        ({"stage": "production"}, {"stage": "production"}, []),
        ({"stage": "production"}, {"stage": "production", "more": "x"}, []),
        ({"stage": "test"}, {"stage": "other"}, []),
    ],
)
def test_an_existing_version_starts_only_if_it_comes_to_match(
    process: Process, azure_ml: AzureMl, before: dict[str, str], now: dict[str, str], started: list[str]
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, tags={"stage": "production"}))
    azure_ml.register("20", NOON - 400 * DAY, **before)
    assert run(process, azure_ml) == []
    azure_ml.listed.clear()
    azure_ml.register("20", NOON - 400 * DAY, **now)
    process.later(HOUR)

    assert run(process, azure_ml) == started
    process.later(HOUR)
    assert run(process, azure_ml) == []


@pytest.mark.parametrize(("age", "started"), [(HOUR, ["20"]), (HOUR + SECOND, []), (400 * DAY, [])])
def test_a_version_that_the_first_run_did_not_list_starts_if_it_was_new_then(
    process: Process, azure_ml: AzureMl, age: timedelta, started: list[str]
) -> None:
    azure_ml.listed[WORKSPACE.id] = {"churn": []}
    run(process, azure_ml)
    azure_ml.register("20", NOON - age)
    process.later(HOUR)

    assert run(process, azure_ml) == started


def test_a_version_that_an_event_announced_before_the_first_run_starts_when_it_comes_to_match(
    process: Process, azure_ml: AzureMl
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, tags={"stage": "production"}))
    process.start_release.registered(event_body())
    azure_ml.register("20", NOON - HOUR, stage="production")

    assert run(process, azure_ml) == ["20"]


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        ("Creating", ListedModel("", NOON)),
        ("Updating", ListedModel("", NOON)),
        ("Failed", ListedModel("a stamp", NOON + HOUR)),
        ("Canceled", ListedModel("a stamp", NOON + HOUR)),
        ("Deleting", ListedModel("a stamp", NOON + HOUR)),
    ],
)
def test_a_model_with_a_version_whose_registration_has_not_ended_is_listed_by_the_next_run(
    process: Process, azure_ml: AzureMl, state: str, listed: ListedModel
) -> None:
    began(process)
    azure_ml.stamps["churn"] = "a stamp"
    azure_ml.register("20", NOON, state=state)
    azure_ml.register("21", NOON + SECOND, state="Succeeded")
    process.later(HOUR)

    assert run(process, azure_ml) == ["21"]
    assert process.cursors.listed(WORKSPACE) == {"churn": listed}
    assert read(process).succeeded == NOON + HOUR
    asked = len(azure_ml.asked)
    process.later(5 * MINUTE)
    run(process, azure_ml)
    assert (len(azure_ml.asked) > asked) == (not listed.stamp)


def test_a_version_that_is_created_during_the_first_run_starts_when_its_registration_has_ended(
    process: Process, azure_ml: AzureMl
) -> None:
    azure_ml.register("19", NOON - MINUTE, state="Updating")
    azure_ml.register("20", NOON - MINUTE, state="Creating")
    assert run(process, azure_ml) == []
    azure_ml.listed.clear()
    azure_ml.register("19", NOON - MINUTE, state="Succeeded")
    azure_ml.register("20", NOON - MINUTE, state="Succeeded")
    process.later(HOUR)

    assert run(process, azure_ml) == ["20"]


def test_a_claim_whose_process_died_is_tried_whatever_the_state_of_its_version(
    process: Process, azure_ml: AzureMl
) -> None:
    began(process)
    azure_ml.register("20", NOON, state="Failed")
    process.inserted()
    process.later(3 * MINUTE)

    assert run(process, azure_ml) == ["20"]


def test_what_the_list_leaves_out_is_reported_and_the_run_is_complete(
    process: Process, azure_ml: AzureMl, caplog: Any
) -> None:
    began(process)
    azure_ml.register("20", NOON)
    azure_ml.skipped = [AzureMlError("version 19 is skipped", "archive it")]

    assert run(process, azure_ml) == ["20"]

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["version 19 is skipped; archive it"]
    assert read(process).succeeded == NOON


def test_missed_versions_are_started_oldest_first(process: Process, azure_ml: AzureMl, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    began(process)
    azure_ml.register("21", NOON)
    azure_ml.register("20", NOON - SECOND)
    azure_ml.register("1", NOON, "fraud")

    assert run(process, azure_ml) == ["20", "21", "1"]

    assert process.azure_devops.versions == ["20", "21"]
    assert (read(process).began, read(process).complete) == (NOON - 30 * DAY, NOON)
    assert [(line["listed"], line["started"], line["complete"]) for line in lines(caplog)] == [(3, 2, True)]
    assert process.rows("pending") == {}
    assert "delete_entity" in process.client.operations
    assert run(process, azure_ml) == []


def test_a_version_without_an_event_after_15_minutes_is_reported(
    process: Process, azure_ml: AzureMl, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    began(process)
    azure_ml.register("1", NOON - 15 * MINUTE)
    run(process, azure_ml)
    azure_ml.register("2", NOON - 15 * MINUTE - SECOND)
    run(process, azure_ml)

    assert [line["unannounced"] for line in lines(caplog)] == [0, 1]
    (warning,) = (line for line in caplog.messages if line.startswith("no event announced"))
    assert warning == (
        "no event announced 1 versions of workspace Prod;"
        " check that an event subscription delivers ModelRegistered to this app"
    )


@pytest.mark.parametrize(
    ("cursor", "since"),
    [
        ({}, NOON - 14 * DAY),
        ({"complete": NOON - 20 * DAY}, NOON - 20 * DAY - HOUR),
        ({"complete": NOON - 14 * DAY}, NOON - 14 * DAY - HOUR),
        ({"began": NOON - DAY}, NOON - DAY),
    ],
)
def test_versions_are_listed_since_the_cursor_and_for_14_days(
    process: Process, azure_ml: AzureMl, cursor: dict[str, datetime], since: datetime
) -> None:
    began(process, **cursor)
    azure_ml.register("20", NOON)

    run(process, azure_ml)

    assert azure_ml.asked == [("churn", since)]
    assert (OVERLAP, PROMOTED_WITHIN) == (HOUR, 14 * DAY)


def test_the_next_run_begins_where_this_one_began(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.register("20", NOON)
    create = process.azure_devops.create

    def slow(*request: Any) -> Any:
        process.later(MINUTE)
        return create(*request)

    process.azure_devops.create = slow
    run(process, azure_ml)

    assert read(process).complete == NOON


def test_a_model_that_cannot_be_listed_does_not_stop_the_others(
    process: Process, azure_ml: AzureMl, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    began(process)
    azure_ml.listed[WORKSPACE.id] = {"broken": ModelListError("503", "wait"), "churn": []}
    azure_ml.register("20", NOON)

    assert run(process, azure_ml) == ["20"]

    assert read(process).complete == NOON - HOUR
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["503; wait"]
    assert [line["complete"] for line in lines(caplog)] == [False]


def test_a_workspace_that_cannot_be_listed_does_not_stop_the_others(
    process: Process, azure_ml: AzureMl, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    process.start_release = replace(process.start_release, workspaces=frozenset([WORKSPACE, OTHER]))
    process.cursors.write(OTHER, CatchUpCursor(NOON - DAY, NOON - HOUR, succeeded=NOON - HOUR))
    began(process)
    azure_ml.listed[OTHER.id] = AzureMlError("403", "grant Reader")
    azure_ml.register("20", NOON)

    assert run(process, azure_ml) == ["20"]

    assert [(line["workspace"], line["complete"]) for line in lines(caplog)] == [
        (OTHER.id, False),
        (WORKSPACE.id, True),
    ]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "403; grant Reader"
    ]
    other = CatchUpCursor(NOON - DAY, NOON - HOUR, ran=NOON, succeeded=NOON - HOUR, problem="403; grant Reader")
    assert process.cursors.read(OTHER) == other


def test_a_model_without_versions_costs_nothing(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.listed[WORKSPACE.id] = {"churn": []}
    process.client.operations.clear()

    run(process, azure_ml)

    lease, listed = ["get_entity", "create_entity"], ["query_entities", "upsert_entity"]
    assert process.client.operations == [*lease, "get_entity", *listed, "upsert_entity", "update_entity"]


def test_a_run_without_changes_costs_one_list_and_six_storage_operations(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    unchanged(azure_ml, 20)
    run(process, azure_ml)
    azure_ml.asked.clear()
    process.client.operations.clear()

    run(process, azure_ml)

    assert azure_ml.asked == []
    lease, cursor = ["get_entity", "update_entity"], ["get_entity", "query_entities", "upsert_entity"]
    assert process.client.operations == [*lease, *cursor, "update_entity"]


def test_a_version_that_another_worker_processes_is_listed_again(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.stamps["churn"] = "1"
    azure_ml.register("20", NOON)
    azure_ml.register("21", NOON + SECOND)
    new = process.new()
    insert = process.claims.insert

    def meanwhile(claim: Any) -> Any:
        process.claims.insert = insert
        insert(new.claim)
        return insert(claim)

    process.claims.insert = meanwhile

    assert run(process, azure_ml) == ["21"]
    assert (read(process).complete, read(process).problem) == (NOON - HOUR, "another worker processes churn:20")
    assert process.cursors.listed(WORKSPACE) == {"churn": ListedModel("", NOON)}


def pending_rows(process: Process) -> list[int]:
    """Return a list that gets the number of pending rows at each request that creates."""
    create, counts = process.azure_devops.create, []

    def created(*request: Any) -> Any:
        counts.append(len(process.rows("pending")))
        return create(*request)

    process.azure_devops.create = created
    return counts


def test_a_version_that_nobody_delivers_is_pending_while_it_is_created(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    process.start_release.registered(event_body("19"))
    azure_ml.register("20", NOON)
    counts = pending_rows(process)

    assert run(process, azure_ml) == ["20"]
    assert counts == [1]


def test_a_version_that_cannot_be_released_is_reported(process: Process, azure_ml: AzureMl, caplog: Any) -> None:
    began(process)
    azure_ml.register("20", NOON, text=incompressible(1_350_000))
    azure_ml.register("21", NOON)

    assert run(process, azure_ml) == ["21"]

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert re.fullmatch(
        r"churn:20 cannot be released: the event has 1,350,\d{3} bytes, 1,0\d\d,\d{3} after compression; "
        "the limit is 960,000",
        warning,
    )
    assert read(process).complete == NOON


def test_a_claim_that_was_cut_off_is_tried_once_its_lease_has_ended(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.register("20", NOON)
    process.inserted()
    process.later(3 * MINUTE - SECOND)
    assert run(process, azure_ml) == []
    assert read(process).complete == process.clock()
    process.later(SECOND)

    assert run(process, azure_ml) == ["20"]


def test_a_claim_that_waits_is_left_to_the_sweep(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.register("20", NOON)
    claim = process.inserted()
    process.claims.update(claim, replace(claim, state=State.WAITING))
    process.later(HOUR)

    assert run(process, azure_ml) == []


def test_a_version_whose_tags_were_added_later_is_started(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, tags={"stage": "production"}))
    process.start_release.registered(event_body(stage="test"))
    azure_ml.register("20", NOON, stage="production")

    assert run(process, azure_ml) == ["20"]
    assert process.azure_devops.versions == ["20"]


def test_the_event_of_a_version_is_read_only_if_a_target_has_no_claim(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    a_route = a_map(TARGET, tags={"stage": "production"})
    process.start_release = replace(process.start_release, release_map=a_route)
    for version in ("19", "20", "21"):
        azure_ml.register(version, NOON, stage="test" if version == "19" else "production")
        process.start_release.registered(event_body(version, stage="test" if version == "21" else "production"))
    for forged in range(100, 130):
        process.start_release.registered(event_body(str(forged), stage="test"))
    process.client.events_read.clear()

    assert run(process, azure_ml) == ["21"]
    assert {row.split(" ")[0] for _, row in process.client.events_read} == {"21"}


def test_a_claim_that_another_worker_takes_over_after_it_was_listed_is_left_to_it(
    process: Process, azure_ml: AzureMl
) -> None:
    began(process)
    azure_ml.register("20", NOON)
    claim = process.inserted()
    process.later(6 * MINUTE)
    outlines = process.claims.outlines

    def meanwhile(*model: Any) -> Any:
        found = list(outlines(*model))
        process.start_release.try_now(claim)
        return found

    process.claims.outlines = meanwhile

    assert run(process, azure_ml) == []
    assert process.azure_devops.versions == ["20"]


def test_a_target_that_was_cut_off_is_started_beside_a_claim_that_was(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, OTHER_TARGET))
    azure_ml.register("20", NOON)
    claim = process.inserted()
    other = process.start_release._digest(next(iter(_plans(process))))
    process.claims.update(claim, replace(claim, sibling_targets=other))
    process.later(6 * MINUTE)

    entries = process.catch_up(azure_ml).run()

    assert [(entry.target, entry.state) for entry in entries] == [
        ("p/train", State.STARTED),
        ("p/other", State.STARTED),
    ]


def _plans(process: Process) -> list[Any]:
    return [plan for plan in process.start_release._route(parse(event_body())).plans if plan.target == OTHER_TARGET]


def test_the_event_of_a_version_is_the_one_that_azure_ml_sends() -> None:
    version = ModelVersion(WORKSPACE, "churn", "20", NOON, {"a": "ä"}, {"b": "1"})

    body = event_of(version)

    assert json.loads(body) == {
        "id": "catch-up Prod churn 20",
        "topic": WORKSPACE.id.removesuffix("prod") + "Prod",
        "subject": "models/churn:20",
        "eventType": MODEL_REGISTERED,
        "eventTime": NOON.isoformat(),
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "ModelName": "churn",
            "ModelVersion": "20",
            "ModelTags": {"a": "ä"},
            "ModelProperties": {"b": "1"},
        },
    }
    assert "ä" in body
    assert parse(body).workspace == WORKSPACE


def test_a_run_has_four_threads() -> None:
    with list_threads() as threads:
        assert threads._max_workers == LIST_THREADS == 4


def test_a_version_that_was_deleted_and_registered_again_without_an_event_is_started_again(azure_ml: AzureMl) -> None:
    process = Process(order="every", azure_ml=azure_ml)
    began(process)
    azure_ml.register("20", NOON)
    assert run(process, azure_ml) == ["20"]
    azure_ml.listed.clear()
    process.later(HOUR)
    azure_ml.register("20", NOON + MINUTE)
    counts = pending_rows(process)

    assert run(process, azure_ml) == ["20"]
    assert run(process, azure_ml) == []
    assert counts == [1]
    assert process.azure_devops.versions == ["20", "20"]


def unchanged(azure_ml: AzureMl, models: int) -> None:
    """Register versions of models whose stamps stay as they are."""
    for number in range(models):
        azure_ml.register("1", NOON, f"m{number}")
        azure_ml.stamps[f"m{number}"] = "1"


def test_a_run_lists_only_the_models_that_changed_and_all_of_them_once_an_hour(
    process: Process, azure_ml: AzureMl
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="m*"))
    began(process)
    unchanged(azure_ml, 3)
    run(process, azure_ml)
    asked = []
    for number in range(13):
        azure_ml.asked.clear()
        process.later(5 * MINUTE)
        if number == 1:
            azure_ml.stamps["m1"] = "2"
        run(process, azure_ml)
        asked.append([model for model, _ in azure_ml.asked])

    assert asked == [[], ["m1"], *[[]] * 9, ["m0", "m2"], []]


def test_a_version_of_a_model_whose_stamp_does_not_change_starts_within_an_hour(
    process: Process, azure_ml: AzureMl
) -> None:
    began(process)
    azure_ml.register("20", NOON)
    azure_ml.stamps["churn"] = "1"
    assert run(process, azure_ml) == ["20"]
    azure_ml.register("21", NOON + MINUTE)
    process.later(55 * MINUTE)
    assert run(process, azure_ml) == []
    # The timer of an hourly schedule may be a little early.
    process.later(5 * MINUTE - SECOND)

    assert run(process, azure_ml) == ["21"]


def test_models_that_changed_are_listed_before_all_others_of_all_workspaces(
    process: Process, azure_ml: AzureMl
) -> None:
    process.start_release = replace(process.start_release, workspaces=frozenset([WORKSPACE, OTHER]))
    process.cursors.write(OTHER, CatchUpCursor(NOON - DAY, NOON, recorded=NOON - DAY))
    began(process)
    azure_ml.listed[OTHER.id] = {"old": [], "older": []}
    azure_ml.listed[WORKSPACE.id] = {"changed": []}
    azure_ml.stamps |= {"old": "1", "older": "1"}
    listed = {"old": ListedModel("1", NOON - HOUR), "older": ListedModel("1", NOON - 2 * HOUR)}
    process.cursors.record_listed(OTHER, listed, listed)

    run(process, azure_ml)

    assert [model for model, _ in azure_ml.asked] == ["changed", "older", "old"]


def test_runs_never_overlap_and_a_run_that_is_killed_delays_the_next_one_by_three_minutes(
    process: Process, azure_ml: AzureMl, caplog: Any
) -> None:
    began(process)
    azure_ml.register("20", NOON)
    other, overlapping = Process(shares=process), []

    def models(*_: Any, **__: Any) -> Any:
        overlapping.append(run(other, AzureMl()))
        raise RuntimeError("the process is killed")

    azure_ml.models, listing = models, azure_ml.models
    catch_up = process.catch_up(azure_ml)
    held = catch_up.lease.acquire()
    assert held
    with pytest.raises(RuntimeError):
        catch_up._run(held)
    azure_ml.models = listing
    caplog.set_level(logging.INFO)
    process.later(3 * MINUTE - SECOND)
    assert run(process, azure_ml) == []
    assert "another catch-up is at work" in caplog.messages
    process.later(SECOND)

    assert run(process, azure_ml) == ["20"]
    assert overlapping == [[]]


def test_a_run_that_lost_its_lease_ends(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    unchanged(azure_ml, 2)

    def frozen(*_: Any, **__: Any) -> Any:
        azure_ml.versions = listing
        process.later(4 * MINUTE)
        assert Process(shares=process).catch_up(AzureMl()).lease.acquire()
        return []

    azure_ml.versions, listing = frozen, azure_ml.versions

    with pytest.raises(ResourceModifiedError):
        run(process, azure_ml)
    assert process.cursors.listed(WORKSPACE) == {}


def test_a_long_run_ends_after_nine_minutes_and_the_next_one_continues(process: Process, azure_ml: AzureMl) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="m*"))
    unchanged(azure_ml, 10)
    listing = azure_ml.versions

    def slow(*asked: Any, **options: Any) -> Any:
        process.later(MINUTE)
        return listing(*asked, **options)

    azure_ml.versions = slow
    run(process, azure_ml)
    assert (read(process).recorded, read(process).problem) == (
        NEVER,
        "5 models are not listed yet; the next run continues",
    )
    left = sorted(azure_ml.listed[WORKSPACE.id].keys() - process.cursors.listed(WORKSPACE))
    run(process, azure_ml)

    assert left == ["m5", "m6", "m7", "m8", "m9"]
    assert [model for model, _ in azure_ml.asked][-5:] == left
    assert read(process).recorded == read(process).succeeded > NOON


def test_unchanged_models_that_a_long_run_did_not_reach_are_not_a_problem(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    unchanged(azure_ml, 2)
    listed = {f"m{number}": ListedModel("1", NOON - HOUR) for number in range(2)}
    process.cursors.record_listed(WORKSPACE, listed, listed)
    azure_ml.versions = lambda *_, **__: process.later(LONGEST_RUN) or []

    run(process, azure_ml)

    assert (read(process).problem, read(process).succeeded) == ("", NOON)


@pytest.mark.parametrize("moment", range(30))
def test_a_run_that_is_killed_at_any_write_starts_nothing_twice_and_the_next_ones_skip_nothing(
    process: Process, azure_ml: AzureMl, moment: int
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="m*", order="every"))
    began(process)
    unchanged(azure_ml, 3)
    calls = iter(range(moment))

    def kill(_: str) -> None:
        if next(calls, None) is None:
            raise Killed

    def find_by_marker(*asked: Any) -> Any:
        created = [value for one in process.azure_devops.created for value in one]
        return CREATED if any(value in created for value in asked if str(value).startswith(MARKER_BEGINS)) else None

    process.azure_devops.find_by_marker = find_by_marker
    process.client.before_and_after = kill
    with suppress(Killed):
        run(process, azure_ml)
    process.client.before_and_after = None
    for _ in range(2):
        process.later(HOUR)
        replace(process.sweep, start_release=process.start_release).run()
        run(process, azure_ml)

    assert sorted(event.model for _, event, *_ in process.azure_devops.created) == ["m0", "m1", "m2"]


def test_no_run_lists_a_workspace_before_a_long_pause_has_ended(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.listed[WORKSPACE.id] = AzureMlError("429", retry_after=timedelta(minutes=12))
    run(process, azure_ml)
    azure_ml.listed.clear()
    azure_ml.register("20", NOON)
    process.later(12 * MINUTE - SECOND)
    assert (run(process, azure_ml), azure_ml.asked_for_models) == ([], 1)
    process.later(SECOND)

    assert run(process, azure_ml) == ["20"]


def test_a_workspace_whose_lists_fail_is_incomplete_and_paused(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.listed[WORKSPACE.id] = {"churn": AzureMlError("429", retry_after=timedelta(minutes=12)), "unchanged": []}
    azure_ml.stamps["unchanged"] = "1"
    listed = {"unchanged": ListedModel("1", NOON - 2 * HOUR)}
    process.cursors.record_listed(WORKSPACE, listed, listed)

    run(process, azure_ml)

    cursor = read(process)
    assert [model for model, _ in azure_ml.asked] == ["churn"]
    assert (cursor.problem, cursor.paused_until) == ("429", NOON + 12 * MINUTE)
    assert cursor.succeeded == NOON - HOUR


def test_the_lease_is_renewed_while_workspaces_are_begun(process: Process, azure_ml: AzureMl) -> None:
    process.start_release = replace(process.start_release, workspaces=frozenset([WORKSPACE, OTHER]))
    azure_ml.register("20", NOON)
    models, versions, other = azure_ml.models, azure_ml.versions, Process(shares=process)

    def slow(*asked: Any, **options: Any) -> Any:
        process.later(2 * MINUTE)
        return models(*asked, **options)

    def meanwhile(*asked: Any, **options: Any) -> Any:
        assert other.catch_up(AzureMl()).lease.acquire() is None
        return versions(*asked, **options)

    azure_ml.models, azure_ml.versions = slow, meanwhile

    run(process, azure_ml)

    assert [model for model, _ in azure_ml.asked] == ["churn"]


@pytest.mark.parametrize(("pause", "saved"), [(SECOND, []), (40 * SECOND, ["m0"])])
def test_the_lease_is_renewed_and_the_progress_saved_while_many_versions_start(
    process: Process, azure_ml: AzureMl, pause: timedelta, saved: list[str]
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="m*", order="every"))
    began(process)
    for number in range(6):
        azure_ml.register(str(number), NOON, "m0")
    azure_ml.register("1", NOON, "m1")
    create, seen, other = process.azure_devops.create, [], Process(shares=process)

    def slow(*request: Any) -> Any:
        seen.append(list(process.cursors.listed(WORKSPACE)))
        assert other.catch_up(AzureMl()).lease.acquire() is None
        process.later(pause)
        return create(*request)

    process.azure_devops.create = slow

    assert len(run(process, azure_ml)) == 7
    assert seen == [[]] * 6 + [saved]


def test_the_progress_is_saved_each_time_the_lease_is_renewed_while_models_are_listed(
    process: Process, azure_ml: AzureMl
) -> None:
    began(process)
    azure_ml.listed[WORKSPACE.id] = {f"m{number}": [] for number in range(7)}
    listing, seen = azure_ml.versions, []

    def slow(*asked: Any, **options: Any) -> Any:
        seen.append(sorted(process.cursors.listed(WORKSPACE)))
        process.later(20 * SECOND)
        return listing(*asked, **options)

    azure_ml.versions = slow

    run(process, azure_ml)

    assert seen == [[]] * 5 + [["m0"]] * 2


def test_the_tags_that_an_interrupted_first_run_recorded_are_kept_for_a_model_that_is_listed_later(
    process: Process, azure_ml: AzureMl
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, tags={"stage": "production"}))
    began(process)
    existing = {"churn": {"20": TagsAndProperties({"stage": "test"}, {})}}
    process.cursors.record_existing(WORKSPACE, existing, existing)
    listed = {"churn": ListedModel("", NEVER)}
    process.cursors.record_listed(WORKSPACE, listed, listed)
    azure_ml.register("20", NOON - 31 * DAY, stage="production")

    assert run(process, azure_ml) == ["20"]


def test_a_model_that_is_not_listed_any_more_is_forgotten(process: Process, azure_ml: AzureMl) -> None:
    began(process)
    azure_ml.listed[WORKSPACE.id] = {"churn": [], "gone": []}
    run(process, azure_ml)
    del azure_ml.listed[WORKSPACE.id]["gone"]
    run(process, azure_ml)

    assert list(process.cursors.listed(WORKSPACE)) == ["churn"]


@pytest.mark.parametrize("reads", range(5))
def test_a_run_that_is_killed_at_any_read_starts_nothing_twice_and_the_next_one_skips_nothing(
    process: Process, azure_ml: AzureMl, reads: int
) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(TARGET, model="m*", order="every"))
    began(process)
    unchanged(azure_ml, 3)
    left = iter(range(reads))

    def killed(read: Any) -> Any:
        def reading(*asked: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return read(*asked, **options)

        return reading

    azure_ml.models, models = killed(azure_ml.models), azure_ml.models
    azure_ml.versions, versions = killed(azure_ml.versions), azure_ml.versions
    with suppress(Killed):
        run(process, azure_ml)
    azure_ml.models, azure_ml.versions = models, versions
    process.later(5 * MINUTE)
    run(process, azure_ml)
    run(process, azure_ml)

    assert sorted(event.model for _, event, *_ in process.azure_devops.created) == ["m0", "m1", "m2"]

"""An event is a hint: what is released follows from what Azure ML says about the version."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from model_release.azure_ml.items import AzureMlError, ModelVersion
from model_release.domain.claims import State, registration_row
from model_release.domain.events import Workspace, parse
from model_release.domain.history import ByHand, HistoryEntry
from model_release.domain.routing import NO_ROUTING
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError
from model_release.flow.confirm import Cause, Confirmed, registered_anew
from model_release.flow.manually import unrecorded
from model_release.reason import Reason, ReasonKind
from model_release.store.high_water_mark import Pin
from tests.flow.test_start_release_in_memory import claims, deploy, register, states
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
    an_event,
    event_body,
    incompressible,
)


class ScriptedAzureMl:
    """The versions of one model; an error is raised instead of any answer."""

    def __init__(self) -> None:
        self.versions: dict[str, ModelVersion] = {}
        self.error: AzureMlError | None = None
        self.asked: list[str] = []

    def register(self, version: str, created: datetime = NOON - SECOND, state: str = "", **tags: str) -> None:
        self.versions[version] = ModelVersion(WORKSPACE, "churn", version, created, tags, {}, state)

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        assert (workspace, model) == (WORKSPACE, "churn")
        self.asked.append(version)
        if self.error:
            raise self.error
        return self.versions.get(version)


@pytest.fixture
def azure_ml() -> ScriptedAzureMl:
    return ScriptedAzureMl()


@pytest.fixture
def process(azure_ml: ScriptedAzureMl) -> Process:
    return Process(azure_ml=azure_ml)


def sweep(process: Process, after: timedelta) -> list[HistoryEntry]:
    process.later(after)
    return process.sweep.run()


# Confirmed


def test_a_version_that_is_registered_is_created_after_one_question(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")

    assert states(register(process)) == [State.STARTED]
    assert azure_ml.asked == ["20"]
    assert claims(process)[0].registered_at == NOON - SECOND


def test_the_release_and_the_claim_have_the_tags_of_azure_ml(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20", stage="real")

    register(process, stage="forged")

    ((_, event, *_),) = process.azure_devops.created
    assert (event.id, event.tags) == ("event of 20", {"stage": "real"})
    assert '"stage": "real"' in claims(process)[0].event


def test_a_model_that_no_route_names_is_not_asked_for(process: Process, azure_ml: ScriptedAzureMl) -> None:
    process.start_release.registered(event_body(model="fraud"))

    assert azure_ml.asked == []


def test_an_event_without_the_tags_of_its_version_is_matched_by_those_of_azure_ml(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.register("20", stage="production")

    assert states(register(process)) == [State.STARTED]


def test_a_version_whose_tags_match_only_in_the_event_is_withdrawn(process: Process, azure_ml: ScriptedAzureMl) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.register("20", stage="test")

    (entry,) = register(process, stage="production")

    assert (entry.state, entry.reason) == (State.WITHDRAWN, "tag stage is 'test', not 'production'")
    assert process.azure_devops.created == []


def test_a_version_that_matches_neither_way_is_ignored_with_the_reason_of_azure_ml(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.register("20", stage="test")

    (entry,) = register(process)

    assert (entry.state, entry.reason) == (State.IGNORED, "tag stage is 'test', not 'production'")


def test_a_version_that_cannot_be_confirmed_and_does_not_match_is_ignored_with_both_reasons(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.error = AzureMlError("503", "wait")

    (entry,) = register(process, stage="test")

    assert (entry.state, entry.reason) == (State.IGNORED, "tag stage is 'test', not 'production'; 503; wait")
    assert entry.log_reason == "tag stage has another value; 503; wait"


# Not confirmed


def test_a_version_that_azure_ml_does_not_have_waits_ten_minutes_and_is_withdrawn(process: Process) -> None:
    (entry,) = register(process)
    assert (entry.state, entry.next_attempt) == (State.WAITING, NOON + MINUTE)
    assert states(sweep(process, 9 * MINUTE)) == [State.WAITING]

    (entry,) = sweep(process, MINUTE)

    assert (entry.state, entry.reason) == (State.WITHDRAWN, "Azure ML has no version 20 of churn")
    assert process.azure_devops.created == []


def test_a_version_that_is_listed_late_is_started(process: Process, azure_ml: ScriptedAzureMl) -> None:
    register(process)
    azure_ml.register("20")

    assert states(sweep(process, MINUTE)) == [State.STARTED]


@pytest.mark.parametrize("state", ["Creating", "Failed", "Canceled"])
def test_a_version_that_is_not_ready_waits(process: Process, azure_ml: ScriptedAzureMl, state: str) -> None:
    azure_ml.register("20", state=state)

    (entry,) = register(process)

    assert (entry.state, entry.absent, entry.unavailable) == (State.WAITING, True, False)
    assert entry.reason == f"version 20 of churn is {state} in Azure ML, not Succeeded"


def test_a_version_waits_while_azure_ml_cannot_be_read(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.error = AzureMlError("Azure Resource Manager answered 403", "grant the action models/versions/read")
    (entry,) = register(process)
    assert (entry.reason, entry.absent, entry.unavailable) == (str(azure_ml.error), False, True)

    assert states(sweep(process, HOUR)) == [State.WAITING]
    azure_ml.error = None
    azure_ml.register("20")

    assert states(sweep(process, MINUTE)) == [State.STARTED]


def test_an_older_version_does_not_wait_for_one_that_azure_ml_does_not_have(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20", state="Creating")
    register(process, "20")
    register(process, "21")
    azure_ml.register("20")

    assert states(sweep(process, MINUTE)) == [State.WAITING, State.STARTED]


def test_the_pause_that_azure_ml_asks_for_is_kept(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.error = AzureMlError("429", retry_after=5 * MINUTE)

    assert register(process)[0].next_attempt == NOON + 5 * MINUTE


def test_without_confirmation_an_event_is_believed() -> None:
    process = Process()

    (entry,) = process.start_release.registered(event_body("999"))

    assert (entry.state, process.azure_devops.versions) == (State.STARTED, ["999"])


def test_without_confirmation_a_version_that_no_event_announced_is_not_started() -> None:
    with pytest.raises(RefusedError) as refused:
        Process().start_release.match_again(unrecorded(WORKSPACE, "churn", "20"))

    problem = "churn:20 is not recorded, and it is not read from Azure ML: CONFIRM_MODELS is false"
    assert str(refused.value) == f"{problem}; set CONFIRM_MODELS to true, or register the version again"


def test_a_forged_newest_version_supersedes_nothing(process: Process, azure_ml: ScriptedAzureMl) -> None:
    register(process, "9" * 255)
    azure_ml.register("20")

    assert states(register(process)) == [State.STARTED]


def test_a_claim_keeps_the_time_of_its_registration_when_its_release_is_found(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    register(process)
    process.azure_devops.finding = [CREATED]

    assert states(sweep(process, MINUTE)) == [State.STARTED]
    assert claims(process)[0].registered_at == NOON - SECOND


def test_a_release_that_may_exist_is_found_also_if_its_version_is_gone(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    process.azure_devops.creating = [TemporaryError("503")]
    register(process)
    claim = claims(process)[0]
    process.claims.update(claim, replace(claim, state=State.UNKNOWN))
    azure_ml.versions.clear()
    process.azure_devops.finding = [CREATED]

    assert states(sweep(process, HOUR)) == [State.STARTED]


# Other targets


def test_a_target_that_only_azure_ml_leads_to_is_started_too(process: Process, azure_ml: ScriptedAzureMl) -> None:
    process = Process(TARGET, azure_ml=azure_ml)
    by_tag = a_map(OTHER_TARGET, tags={"stage": "production"})
    both = process.start_release.release_map
    both = both._replace(routes=[*both.routes, *by_tag.routes])
    process.start_release = replace(process.start_release, release_map=both)
    azure_ml.register("20", stage="production")

    assert states(register(process)) == [State.STARTED] * 2
    assert {str(plan.target) for plan, *_ in process.azure_devops.created} == {str(TARGET), str(OTHER_TARGET)}


# Registered anew


def test_the_same_registration_starts_once(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20")
    register(process)
    azure_ml.register("20", stage="updated")

    (entry,) = register(process)

    assert entry.reason.startswith("already recorded")
    assert process.azure_devops.versions == ["20"]


def test_a_version_that_was_deleted_and_registered_again_starts_again(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    register(process)
    process.later(HOUR)
    azure_ml.register("20", created=NOON + HOUR)

    assert states(register(process)) == [State.STARTED]
    assert register(process)[0].reason.startswith("already recorded")
    assert process.azure_devops.versions == ["20", "20"]
    first, second = claims(process)
    assert (first.registered_at, second.registered_at) == (NOON - SECOND, NOON + HOUR)
    assert first.marker != second.marker


@pytest.mark.parametrize(
    ("state", "cause", "is_anew"),
    [
        (State.STARTED, {}, True),
        (State.WAITING, {}, False),
        (State.STARTED, {"idempotency_key": "a-key"}, False),
        (State.STARTED, {"registration": "registered-now"}, False),
    ],
)
def test_only_an_event_whose_claim_is_final_can_be_of_a_new_registration(
    process: Process, state: State, cause: dict[str, Any], *, is_anew: bool
) -> None:
    claim = replace(process.new().claim, state=state, registered_at=NOON)
    event = an_event()._replace(registered_at=NOON + SECOND)
    confirmed = Confirmed(event, NO_ROUTING)

    anew = registered_anew(claim, Cause(an_event(), lambda: confirmed, **cause))

    assert (anew and (anew.event, anew.registration)) == ((event, registration_row(NOON + SECOND)) if is_anew else None)


def test_a_version_that_was_forged_before_it_was_registered_starts_once(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    register(process)
    sweep(process, 10 * MINUTE)
    azure_ml.register("20", created=NOON + 20 * MINUTE)
    process.later(10 * MINUTE)

    assert states(register(process)) == [State.STARTED]
    assert process.azure_devops.versions == ["20"]


def test_versions_of_a_replaced_workspace_begin_a_new_line(process: Process, azure_ml: ScriptedAzureMl) -> None:
    for version in ("1", "20"):
        azure_ml.register(version)
        register(process, version)
    process.later(DAY)
    azure_ml.versions.clear()
    ended = []
    for number in (1, 2, 3):
        azure_ml.register(str(number), created=NOON + DAY + number * SECOND)
        ended += register(process, str(number))

    assert states(ended) == [State.STARTED] * 3
    assert process.azure_devops.versions == ["1", "20", "1", "2", "3"]


def test_a_late_event_of_an_older_version_stays_superseded(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20")
    azure_ml.register("19", created=NOON - MINUTE)
    register(process)

    assert states(register(process, "19")) == [State.SUPERSEDED]


@pytest.mark.parametrize("after", [-SECOND, 0 * SECOND])
def test_an_older_version_that_was_not_registered_later_stays_superseded_without_the_newer_one(
    process: Process, azure_ml: ScriptedAzureMl, after: timedelta
) -> None:
    azure_ml.register("20", created=NOON - HOUR)
    register(process, "20")
    azure_ml.versions.clear()
    azure_ml.register("1", created=NOON - HOUR + after)

    assert states(register(process, "1")) == [State.SUPERSEDED]


def test_an_older_version_that_is_registered_later_is_superseded_while_the_newer_one_exists(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    register(process)
    azure_ml.register("19", created=NOON + SECOND)

    assert states(register(process, "19")) == [State.SUPERSEDED]


def test_a_confirmed_version_is_held_by_a_pin(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20")
    claim = process.new("20").claim
    process.marks.set_pin(claim.partition, claim.target_digest, Pin("19", "", NOON))

    assert states(register(process)) == [State.HELD]


def test_an_older_version_stays_superseded_while_nobody_knows_whether_the_newer_one_is_gone(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    register(process)
    azure_ml.register("19", created=NOON + SECOND)
    read = azure_ml.model_version

    def unavailable(workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        if version == "20":
            raise AzureMlError("503")
        return read(workspace, model, version)

    azure_ml.model_version = unavailable  # type: ignore[method-assign]

    assert states(register(process, "19")) == [State.SUPERSEDED]


# Restarts


def test_a_restart_is_refused_while_azure_ml_does_not_confirm_it(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20")
    register(process)
    (claim,) = claims(process)
    azure_ml.error = AzureMlError("503")
    with pytest.raises(TemporaryError, match=r"^503$"):
        process.start_release.restart(claim, "a-key-of-mine")
    azure_ml.error = None
    azure_ml.versions.clear()

    with pytest.raises(RefusedError) as missing:
        process.start_release.restart(claim, "a-key-of-mine")
    azure_ml.register("20", state="Creating")
    with pytest.raises(RefusedError) as creating:
        process.start_release.restart(claim, "a-key-of-mine")

    assert str(missing.value) == "Azure ML has no version 20 of churn; compare it with workspace Prod"
    creates = "version 20 of churn is Creating in Azure ML, not Succeeded"
    assert str(creating.value) == f"{creates}; try again when it is Succeeded"


def test_a_start_with_a_pin_holds_also_while_azure_ml_cannot_be_read(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20")
    register(process)
    (claim,) = claims(process)
    azure_ml.error = AzureMlError("503")

    (entry,) = process.start_release.restart(claim, "a-key-of-mine", ByHand("alice", pins=True))

    assert (entry.state, entry.reason) == (State.WAITING, "503")
    pin = process.marks.pin(claim.partition, claim.target_digest)
    assert pin
    assert (pin.version, pin.by) == ("20", "alice")


def test_a_version_that_no_event_announced_is_pending_before_it_is_claimed(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    azure_ml.register("20", stage="now")
    inserted = []
    process.once("before create_entity", lambda: inserted.append(process.rows("pending")))

    (entry,) = process.start_release.match_again(unrecorded(WORKSPACE, "churn", "20"))

    assert entry.reason.endswith("matched with the tags (stage = now) and properties (none) in Azure ML now")
    assert entry.log_reason == "route churn matches churn:20"
    assert inserted == [{claims(process)[0].key: ANY}]
    assert process.rows("pending") == {}
    assert azure_ml.asked == ["20"]
    assert register(process)[0].reason.startswith("already recorded")


def test_matching_again_has_the_tags_of_now_and_keeps_the_first_event(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.register("20", stage="first")
    register(process)
    azure_ml.register("20", stage="now")

    (entry,) = process.start_release.match_again(an_event(stage="production"))

    why = "tag stage is 'now', not 'production'"
    assert entry.reason == f"{why}; matched with the tags (stage = now) and properties (none) in Azure ML now"
    assert entry.log_reason == "tag stage has another value"
    recorded = process.claims.recorded(WORKSPACE, "churn")["20"]
    assert recorded.ignored == Reason(ReasonKind.OTHER_VALUE, entry.reason)
    assert parse(recorded.event).tags == {"stage": "first"}


def test_a_pending_version_that_is_tried_now_has_the_tags_of_now(process: Process, azure_ml: ScriptedAzureMl) -> None:
    register(process)
    azure_ml.register("20", stage="now")

    (entry,) = process.start_release.try_now(claims(process)[0], by_hand=True)

    assert "(stage = now)" in entry.reason


def test_a_superseded_version_that_a_person_starts_shows_its_tags(process: Process, azure_ml: ScriptedAzureMl) -> None:
    for version in ("20", "19"):
        azure_ml.register(version, created=NOON - MINUTE, stage="now")
    register(process)

    (entry,) = process.start_release.match_again(unrecorded(WORKSPACE, "churn", "19"))

    assert (entry.state, entry.log_reason) == (State.SUPERSEDED, "version 20 was sent first")
    assert "(stage = now)" in entry.reason


def test_a_withdrawn_version_is_not_restarted_while_no_route_leads_to_its_target(
    process: Process, azure_ml: ScriptedAzureMl
) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    azure_ml.register("20", stage="test")
    register(process, stage="production")

    with pytest.raises(RefusedError) as refused:
        process.start_release.restart(claims(process)[0], "a-key-of-mine")

    no_route = "no route for churn:20 leads to p/train now: tag stage is 'test', not 'production'"
    assert refused.value.problem.startswith(f"{no_route}; matched with the tags (stage = test)")


def test_a_version_that_is_too_large_is_not_confirmed(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20", stage=incompressible(1_500_000))

    (entry,) = register(process)

    assert entry.reason.startswith("version 20 of churn cannot be released: the event has 1,500,")
    assert entry.absent


def test_a_restart_has_the_tags_of_now(process: Process, azure_ml: ScriptedAzureMl) -> None:
    azure_ml.register("20", stage="then")
    register(process)
    azure_ml.register("20", stage="now", more="x")

    (entry,) = process.start_release.restart(claims(process)[0], "a-key-of-mine")

    assert [event.tags["stage"] for _, event, *_ in process.azure_devops.created] == ["then", "now"]
    assert "matched with the tags (stage = now, more = x) and properties (none) in Azure ML now" in entry.reason

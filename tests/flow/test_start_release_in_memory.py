"""The way of an event: each target is attempted once, whatever happens to the others."""

import json
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import Claim, State, target_digest
from model_release.domain.events import Workspace
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.domain.targets import Target, TargetId
from model_release.errors import ClaimLeasedError, RefusedError, TemporaryError, UnknownOutcomeError
from model_release.reason import Reason, ReasonKind
from tests.in_memory import (
    HOUR,
    MINUTE,
    NOON,
    OTHER_TARGET,
    PARTITION,
    TARGET,
    WORKSPACE,
    Process,
    a_map,
    an_event,
    event_body,
)
from tests.tables import AnswerLost

THIRD = Target("p", "third")
BELIEVED = "matched with the tags (none) and properties (none) of its event, because CONFIRM_MODELS is false"


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def two() -> Process:
    """A process whose map has two targets."""
    return Process(TARGET, OTHER_TARGET)


def register(process: Process, version: str = "20", *, delivered: bool = True, **tags: str) -> list[HistoryEntry]:
    return process.start_release.registered(event_body(version, **tags), delivered=delivered)


def claims(process: Process, version: str = "20") -> tuple[Claim, ...]:
    return process.claims.recorded(WORKSPACE, "churn", version)[version].claims


def deploy(process: Process, *targets: Target, **route: Any) -> None:
    process.start_release = replace(process.start_release, release_map=a_map(*targets, **route))


def states(entries: list[HistoryEntry]) -> list[State]:
    return [entry.state for entry in entries]


# Registered


def test_an_event_starts_its_release(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "model_release.log")

    (entry,) = register(process)

    (claim,) = claims(process)
    assert entry == HistoryEntry.of(claim)
    assert (claim.state, claim.reason) == (State.STARTED, "route churn matches churn:20")
    assert process.rows("pending") == {}
    (line,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert (line["state"], line["version"], line["milliseconds"]) == ("started", "20", 0)


def test_the_duration_of_an_attempt_is_reported(process: Process) -> None:
    create = process.azure_devops.create

    def slow(*request: Any) -> Any:
        process.time.seconds += 1.2346
        return create(*request)

    process.azure_devops.create = slow

    assert register(process)[0].milliseconds == 1235


def test_a_delivered_event_has_no_pending_row_and_others_have_one_before_their_claim(process: Process) -> None:
    register(process, "19")
    assert "delete_entity" in process.client.operations, "the target was new"
    process.client.operations.clear()
    register(process, "20")
    four, of_outbox = ["create_entity", "update_entity", "update_entity", "create_entity"], "upsert_entity"
    assert process.client.operations == [*four[:2], of_outbox, *four[2:]]
    process.client.operations.clear()

    register(process, "21", delivered=False)

    operations = process.client.operations
    assert operations.index("upsert_entity") < operations.index("create_entity")
    assert process.rows("pending") == {}


def test_an_event_counts_as_delivered_if_nothing_else_is_said(process: Process) -> None:
    process.targets.resolve(TARGET, process.azure_devops.identify(TARGET))

    process.start_release.registered(event_body())

    assert "delete_entity" not in process.client.operations


def test_a_claim_that_is_cut_off_is_pending_until_its_lease_ends(process: Process) -> None:
    process.fail("before create_entity", KeyboardInterrupt())
    process.client.created.add("table")

    with pytest.raises(KeyboardInterrupt):
        register(process, delivered=False)

    (row,) = process.rows("pending").values()
    assert (row["row"], row["next_attempt"]) == (f"20 {target_digest(TARGET)}", NOON + 3 * MINUTE)


def test_a_claim_that_exists_is_not_made_pending_again(process: Process) -> None:
    register(process)

    (entry,) = register(process, delivered=False)

    assert entry.reason == "already recorded: route churn matches churn:20"
    assert process.rows("pending") == {}


def test_an_event_that_cannot_be_read_is_ignored(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "model_release.log")
    body = json.loads(event_body()) | {"type": "Other"}

    (entry,) = process.start_release.registered(json.dumps(body))

    assert (entry.state, entry.subject) == (State.IGNORED, "models/churn:20")
    assert "Other" in entry.reason
    assert len(caplog.records) == 1
    assert list(process.rows("ignored"))


def test_an_event_without_a_route_is_kept(process: Process) -> None:
    (entry,) = process.start_release.registered(event_body(model="fraud"))

    assert (entry.state, entry.reason) == (State.IGNORED, "no route names the model fraud")
    assert entry.subject == "models/fraud:20"
    assert process.claims.recorded(WORKSPACE, "fraud")["20"].ignored == Reason(ReasonKind.MODEL_NOT_NAMED, entry.reason)


def test_the_first_event_without_a_route_is_kept_with_its_reason(process: Process) -> None:
    deploy(process, TARGET, tags={"stage": "production"})
    register(process, stage="test")
    register(process, stage="other")

    kept = process.claims.recorded(WORKSPACE, "churn", "20")["20"]
    assert kept.ignored
    assert kept.ignored.text == "tag stage is 'test', not 'production'"


def test_an_event_of_another_workspace_is_not_kept(process: Process) -> None:
    other = Workspace.parse(WORKSPACE.id + "2")
    body = json.loads(event_body()) | {"source": other.id}

    (entry,) = process.start_release.registered(json.dumps(body))

    assert entry.reason == f"workspace {other.id} is not in AML_WORKSPACES"
    assert {partition for partition, _ in process.client.rows} == {"ignored"}


def test_a_claim_of_a_process_that_was_killed_is_pending_before_its_event_is_ignored(process: Process) -> None:
    claim = process.inserted()
    deploy(process, TARGET, enabled=False)

    (entry,) = register(process)

    assert (entry.state, entry.reason) == (State.IGNORED, "route churn is disabled")
    assert process.rows("pending")[claim.key]["next_attempt"] == claim.lease_until


def test_only_a_claim_that_was_cut_off_becomes_pending_when_its_event_is_ignored(process: Process) -> None:
    register(process)
    process.azure_devops.creating = [RefusedError("403")]
    register(process, "21")
    pending = dict(process.rows("pending"))
    deploy(process, TARGET, enabled=False)

    assert states(register(process) + register(process, "21")) == [State.IGNORED] * 2

    assert process.rows("pending") == pending


def test_the_history_entry_of_a_process_that_was_killed_is_written_before_its_event_is_ignored(
    process: Process,
) -> None:
    register(process)
    (claim,) = claims(process)
    process.client.rows = {at: row for at, row in process.client.rows.items() if at[0] != "history"}
    deploy(process, TARGET, enabled=False)

    assert states(register(process)) == [State.IGNORED]

    assert list(process.history.page(HistoryQuery()).entries) == [HistoryEntry.of(claim)]


@pytest.mark.parametrize("body", ["not JSON", event_body(model="fraud")])
def test_the_duration_of_an_ignored_event_is_reported(process: Process, body: str) -> None:
    ignore = process.history.write_alone

    def slow(entry: HistoryEntry) -> None:
        process.time.seconds += 2
        ignore(entry)

    process.history.write_alone = slow

    assert process.start_release.registered(body)[0].milliseconds == 2000


# Redelivered


def test_a_redelivered_event_starts_nothing(process: Process) -> None:
    register(process)

    (entry,) = register(process)

    assert (entry.state, entry.log_reason) == (State.STARTED, "already recorded")
    assert process.azure_devops.versions == ["20"]


def test_a_redelivered_event_fails_while_its_claim_is_processed(process: Process) -> None:
    process.inserted()

    with pytest.raises(ClaimLeasedError):
        register(process)


def test_a_redelivered_event_takes_over_once_the_lease_has_ended(process: Process) -> None:
    process.inserted()
    process.later(6 * MINUTE)

    (entry,) = register(process)

    assert (entry.state, entry.attempt) == (State.STARTED, 2)
    assert len(process.azure_devops.found) == 1
    assert process.azure_devops.created[0][3] == 1360 + 90


def test_a_redelivered_event_does_not_create_what_may_be_in_flight(process: Process) -> None:
    process.inserted()
    process.later(3 * MINUTE)

    assert states(register(process)) == [State.UNKNOWN]
    assert process.azure_devops.created == []


def test_an_insert_without_an_answer_was_never_sent(process: Process) -> None:
    process.targets.resolve(TARGET, process.azure_devops.identify(TARGET))
    process.fail("after create_entity", ServiceRequestError("storage stalls"))
    with pytest.raises(ServiceRequestError):
        register(process)

    (entry,) = register(process)

    assert (entry.state, entry.attempt) == (State.STARTED, 2)
    assert process.azure_devops.found == []


def test_a_repeated_insert_is_a_first_attempt(process: Process) -> None:
    process.targets.resolve(TARGET, process.azure_devops.identify(TARGET))
    process.fail("after create_entity", AnswerLost())

    (entry,) = register(process)

    assert (entry.state, entry.attempt) == (State.STARTED, 1)
    assert process.azure_devops.found == []


def test_the_throttle_is_read_while_the_claim_is_written(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []
    monkeypatch.setattr(process.throttle, "read_ahead", lambda: moments.append(process.rows(PARTITION).copy()))

    register(process)

    assert moments == [{}]


# Several targets


def test_each_target_is_claimed_with_its_siblings(two: Process) -> None:
    deploy(two, TARGET, OTHER_TARGET, THIRD)

    assert states(register(two)) == [State.STARTED] * 3

    names = {one: target_digest(one) for one in (TARGET, OTHER_TARGET, THIRD)}
    for claim in claims(two):
        others = [names[one] for one in names if one != claim.target]
        assert claim.sibling_targets == " ".join(others)


def test_a_target_that_fails_does_not_stop_the_others(two: Process, caplog: pytest.LogCaptureFixture) -> None:
    two.azure_devops.identifying = [ServiceRequestError("storage fails")]

    with pytest.raises(ServiceRequestError, match=r"^storage fails$") as raised:
        register(two)

    assert len(two.azure_devops.created) == 1
    assert not hasattr(raised.value, "__notes__")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_all_failures_are_reported_and_a_lease_matters_least(two: Process, caplog: pytest.LogCaptureFixture) -> None:
    deploy(two, TARGET, OTHER_TARGET, THIRD)
    two.inserted()
    two.azure_devops.identifying = [ServiceRequestError("first"), ServiceRequestError("second")]

    with pytest.raises(ServiceRequestError, match=r"^first") as raised:
        register(two)

    leased = "another worker is processing churn:20 for p/train; Event Grid delivers it again"
    assert raised.value.__notes__ == [
        "another target failed too: ServiceRequestError: second",
        f"another target failed too: ClaimLeasedError: {leased}",
    ]
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [error.splitlines()[0] for error in errors] == ["one of several targets failed"] * 2
    assert "exceptions.ServiceRequestError: first\n" in errors[0]
    assert "exceptions.ServiceRequestError: second\n" in errors[1]


def test_targets_that_other_workers_process_are_not_errors(two: Process, caplog: pytest.LogCaptureFixture) -> None:
    register(two)
    for claim in claims(two):
        two.claims.update(claim, replace(claim, state=State.STARTING))

    with pytest.raises(ClaimLeasedError):
        register(two)

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# Start missing


def test_a_target_that_was_cut_off_before_its_claim_is_started(two: Process) -> None:
    deploy(two, TARGET)
    register(two)
    (claim,) = claims(two)
    two.claims.update(claim, replace(claim, sibling_targets=target_digest(OTHER_TARGET)))
    deploy(two, TARGET, OTHER_TARGET)

    (entry,) = start_missing(two)

    assert (entry.state, entry.target) == (State.STARTED, "p/other")
    assert start_missing(two) == []


def start_missing(process: Process, **tags: str) -> list[HistoryEntry]:
    recorded = process.claims.recorded(WORKSPACE, "churn", "20")["20"]
    return process.start_release.start_missing(an_event(**tags), recorded, lambda: recorded.event)


def test_a_missing_target_is_pending_before_its_claim_is_inserted(process: Process) -> None:
    process.targets.resolve(TARGET, process.azure_devops.identify(TARGET))
    deploy(process, TARGET, tags={"stage": "production"})
    register(process, stage="test")
    process.fail("before create_entity", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        start_missing(process, stage="production")

    assert len(process.rows("pending")) == 1


def test_a_version_that_matches_since_its_tags_changed_is_started(process: Process, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "model_release.log")
    deploy(process, TARGET, tags={"stage": "production"})
    assert states(register(process, stage="test")) == [State.IGNORED]
    caplog.clear()

    assert start_missing(process, stage="test") == []
    (entry,) = start_missing(process, stage="production")

    assert entry.state is State.STARTED
    assert len(caplog.records) == 1
    assert process.client.operations.count("delete_entity") == 1


def test_a_route_that_is_new_starts_nothing_of_what_was_registered_before(process: Process) -> None:
    deploy(process, TARGET)
    register(process)
    deploy(process, TARGET, OTHER_TARGET)

    assert start_missing(process) == []


# Try now and resume


def test_a_pending_claim_is_tried_before_it_is_due(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    process.azure_devops.creating = [TemporaryError("503")]
    register(process)
    caplog.set_level(logging.INFO, "model_release.log")

    (entry,) = process.start_release.try_now(claims(process)[0])

    assert (entry.state, entry.attempt) == (State.STARTED, 2)
    assert len(caplog.records) == 1
    assert process.azure_devops.created[1][3] == 1090
    assert process.rows("pending") == {}


def test_a_pending_claim_is_tried_despite_the_throttle_only_if_the_person_overrides_it(process: Process) -> None:
    process.azure_devops.creating = [TemporaryError("503")]
    register(process)
    process.throttle.extend(HOUR)

    for attempted in (process.start_release.try_now, process.start_release.resume):
        (entry,) = attempted(claims(process)[0])
        assert (entry.state, entry.reason_kind) == (State.WAITING, ReasonKind.THROTTLED)
        assert "matched with" not in entry.reason
    (entry,) = process.start_release.try_now(claims(process)[0], by_hand=True, despite_throttle=True)

    assert (entry.state, entry.reason) == (State.STARTED, f"route churn matches churn:20; {BELIEVED}")


def test_a_target_that_the_process_does_not_know_is_read_ahead_of_a_new_claim_only(process: Process) -> None:
    register(process, "19")
    process.azure_devops.read.clear()
    process.azure_devops.unread = {TARGET}

    register(process, "19")
    assert process.azure_devops.read == []
    register(process, "20")

    assert process.azure_devops.read == [TARGET]
    assert process.rows("pending") == {}


def test_a_claim_that_may_be_created_is_searched_before(process: Process) -> None:
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    register(process)

    assert states(process.start_release.resume(claims(process)[0])) == [State.UNKNOWN]
    assert len(process.azure_devops.found) == 1


def test_the_duration_of_a_resumed_attempt_is_reported(process: Process) -> None:
    process.azure_devops.creating = [TemporaryError("503")]
    register(process)
    search = process.azure_devops.create

    def slow(*request: Any) -> Any:
        process.time.seconds += 2
        return search(*request)

    process.azure_devops.create = slow

    assert process.start_release.resume(claims(process)[0])[0].milliseconds == 2000


@pytest.mark.parametrize("key", ["", "a-key"])
def test_a_claim_whose_route_has_another_target_moves(process: Process, key: str, caplog: Any) -> None:
    process.azure_devops.creating = [TemporaryError("503")]
    if key:
        process.start_release.restart(process.new().claim, key)
    else:
        register(process)
    deploy(process, OTHER_TARGET)
    caplog.set_level(logging.INFO, "model_release.log")

    started, withdrawn = process.start_release.resume(claims(process)[0])

    assert (started.state, started.target) == (State.STARTED, "p/other")
    assert (withdrawn.state, withdrawn.target) == (State.WITHDRAWN, "p/train")
    assert [claim.idempotency_key for claim in claims(process)] == [key, key]
    assert not caplog.records
    assert process.rows("pending") == {}


def test_a_claim_on_another_name_of_a_target_moves_within_its_delivery(process: Process) -> None:
    register(process, "19")
    renamed = TARGET._replace(definition=7)
    process.azure_devops.ids[renamed] = process.azure_devops.identify(TARGET)
    deploy(process, renamed)

    started, withdrawn = register(process)

    assert (started.state, withdrawn.state) == (State.STARTED, State.WITHDRAWN)
    assert {claim.target_digest: claim.state for claim in claims(process)} == {
        target_digest(TARGET): State.STARTED,
        target_digest(renamed): State.WITHDRAWN,
    }
    assert process.rows("pending") == {}


def test_a_claim_that_replaces_another_is_pending_before_it_is_inserted(process: Process) -> None:
    process.targets.resolve(OTHER_TARGET, process.azure_devops.identify(OTHER_TARGET))
    process.azure_devops.creating = [TemporaryError("503")]
    register(process)
    (claim,) = claims(process)
    deploy(process, OTHER_TARGET)
    process.fail("before create_entity", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        process.start_release.resume(claim)

    row = f"20 {target_digest(OTHER_TARGET)}"
    assert row in [pending["row"] for pending in process.rows("pending").values()]


def test_a_claim_that_replaces_another_within_its_delivery_is_pending_before_it_is_inserted(process: Process) -> None:
    register(process, "19")
    renamed = TARGET._replace(definition=7)
    process.azure_devops.ids[renamed] = process.azure_devops.identify(TARGET)
    deploy(process, renamed)
    inserted: list[str] = []
    insert = process.claims.insert

    def second_fails(claim: Claim) -> tuple[Claim, bool]:
        inserted.append(claim.row)
        if len(inserted) > 1:
            raise KeyboardInterrupt
        return insert(claim)

    process.claims.insert = second_fails

    with pytest.raises(KeyboardInterrupt):
        register(process)

    assert inserted[1] in [pending["row"] for pending in process.rows("pending").values()]


# Restart


def test_a_restart_starts_a_version_once_for_each_key(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    register(process)
    (claim,) = claims(process)
    caplog.set_level(logging.INFO, "model_release.log")

    (entry,) = process.start_release.restart(claim, "a-key")
    (again,) = process.start_release.restart(claim, "a-key")

    assert entry.reason == f"restarted manually; route churn matches churn:20; {BELIEVED}"
    assert again.reason == f"already recorded: {entry.reason}"
    assert process.azure_devops.versions == ["20", "20"]
    assert len(caplog.records) == 2
    assert "delete_entity" in process.client.operations


def test_a_restart_confirms_that_the_name_of_its_target_has_another_id(process: Process) -> None:
    register(process)
    process.azure_devops.ids[TARGET] = TargetId("release", "another project", 7)
    other = Process(shares=process)
    assert states(other.start_release.registered(event_body("21"))) == [State.REFUSED]

    restarted = other.start_release.restart(claims(process)[0], "a-key")

    assert states(restarted) == [State.STARTED, State.WITHDRAWN]
    assert states(other.start_release.registered(event_body("22"))) == [State.STARTED]


@pytest.mark.parametrize("is_final", [True, False])
def test_what_a_killed_process_left_is_taken_over_when_the_map_names_another_target(
    process: Process, *, is_final: bool
) -> None:
    register(process, "19")
    left = process.inserted("20")
    if is_final:
        process.claims.update(left, replace(left, state=State.STARTED))
    deploy(process, OTHER_TARGET)

    assert states(register(process, "20")) == [State.STARTED]

    entries = process.history.page(HistoryQuery()).entries
    kept = [entry.target for entry in entries if entry.subject.endswith(":20")]
    assert sorted(kept) == sorted([str(OTHER_TARGET), *([str(TARGET)] if is_final else [])])
    assert list(process.rows("pending")) == ([] if is_final else [left.key])


def test_a_restart_starts_only_the_target_of_the_claim(two: Process) -> None:
    register(two)

    entries = two.start_release.restart(claims(two)[0], "a-key")

    assert [entry.target for entry in entries] == [str(claims(two)[0].target)]
    restarted = [claim for claim in claims(two) if claim.idempotency_key]
    assert [claim.sibling_targets for claim in restarted] == [""]


def test_a_version_whose_route_has_another_target_is_not_restarted(process: Process) -> None:
    register(process)
    deploy(process, OTHER_TARGET)

    with pytest.raises(RefusedError) as raised:
        process.start_release.restart(claims(process)[0], "a-key")

    problem = "no route for churn:20 leads to p/train now: its routes lead to p/other"
    assert raised.value.problem == f"{problem}; {BELIEVED}"
    assert raised.value.fix == "change the release map and deploy it, or change the tags in Azure ML"


def test_a_version_without_a_route_is_not_restarted(process: Process) -> None:
    register(process)
    deploy(process, TARGET, tags={"stage": "production"})

    with pytest.raises(
        RefusedError, match=r"^no route for churn:20 leads to p/train now: tag stage is missing; matched"
    ):
        process.start_release.restart(claims(process)[0], "a-key")


# Short waits


@pytest.mark.parametrize(("seconds", "state"), [(1, State.STARTED), (5, State.STARTED), (6, State.WAITING)])
def test_a_delivery_waits_for_a_pause_of_at_most_five_seconds(process: Process, seconds: int, state: State) -> None:
    process.azure_devops.creating = [TemporaryError("429", retry_after=timedelta(seconds=seconds))]

    assert states(register(process)) == [state]


def test_a_delivery_waits_for_five_seconds_in_all(process: Process) -> None:
    process.azure_devops.creating = [TemporaryError("429", retry_after=timedelta(seconds=2))] * 9

    assert states(register(process)) == [State.WAITING]
    assert len(process.azure_devops.created) == 3


def test_a_delivery_waits_for_an_older_version_that_is_being_created(process: Process) -> None:
    older = process.inserted("19")
    process.marks.advance(older)
    sleep = process.attempts.sleep

    def created_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if process.clock() == NOON + timedelta(seconds=3):
            process.claims.update(older, replace(older, state=State.STARTED))

    attempts = replace(process.attempts, sleep=created_meanwhile)
    process.start_release = replace(process.start_release, attempts=attempts)

    assert states(register(process)) == [State.STARTED]
    assert process.clock() == NOON + timedelta(seconds=3)


def test_only_a_delivery_waits(process: Process) -> None:
    process.azure_devops.creating = [TemporaryError("429", retry_after=timedelta(seconds=1))]

    assert states(register(process, delivered=False)) == [State.WAITING]
    assert process.clock() == NOON

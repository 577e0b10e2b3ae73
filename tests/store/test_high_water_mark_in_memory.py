"""High-water marks: a line never goes backwards, and has one request in flight."""

from dataclasses import replace
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import NEVER, Claim, State, target_digest
from model_release.store.high_water_mark import Obstacle, Pin
from tests.in_memory import DAY, MINUTE, NOON, PARTITION, SECOND, TARGET, Process, values

DIGEST = target_digest(TARGET)


@pytest.fixture
def process() -> Process:
    return Process()


def mark(process: Process) -> dict[str, Any]:
    return values(process.rows(PARTITION)[DIGEST])


def recorded(process: Process, claim: Claim, state: State) -> Claim:
    written = process.claims.update(claim, replace(claim, state=state))
    process.marks.land(written)
    return written


def test_the_first_claim_writes_the_mark(process: Process) -> None:
    claim = process.inserted()

    assert process.marks.advance(claim) is None

    assert mark(process) == {
        "version": "20",
        "brought_by": claim.row,
        "in_flight": claim.row,
        "in_flight_until": claim.in_flight_until,
        "first": "",
    }


def sent(version: str) -> Obstacle:
    return Obstacle(sent=version, brought_by=f"{version} {target_digest(TARGET)}")


def test_a_newer_version_raises_the_mark_and_an_older_one_is_superseded(process: Process) -> None:
    first = process.inserted("9")
    process.marks.advance(first)
    recorded(process, first, State.STARTED)
    second = process.inserted("20")

    assert process.marks.advance(second) is None

    assert mark(process)["version"] == "20"
    assert mark(process)["brought_by"] == mark(process)["in_flight"] == second.row
    assert process.marks.advance(process.inserted("10")) == Obstacle(
        sent="20", brought_by=f"20 {target_digest(TARGET)}"
    )
    assert Process(shares=process).marks.advance(process.inserted("11")) == Obstacle(
        sent="20", brought_by=f"20 {target_digest(TARGET)}"
    )


def test_a_version_waits_for_an_older_one_that_is_in_flight(process: Process) -> None:
    process.marks.advance(process.inserted("20"))
    newer = process.inserted("21")

    assert process.marks.advance(newer) == Obstacle(in_flight="20")
    assert mark(process)["version"] == "20"
    process.later(6 * MINUTE - SECOND)
    assert process.marks.advance(newer) == Obstacle(in_flight="20")
    process.later(SECOND)

    assert process.marks.advance(newer) is None


@pytest.mark.parametrize("state", [State.WAITING, State.REFUSED, State.STARTED, State.ABANDONED])
def test_a_claim_without_a_request_in_flight_lets_the_next_version_pass(process: Process, state: State) -> None:
    claim = process.inserted("20")
    process.marks.advance(claim)
    process.claims.update(claim, replace(claim, state=state))

    assert Process(shares=process).marks.advance(process.inserted("21")) is None


def test_a_claim_is_no_obstacle_for_itself(process: Process) -> None:
    claim = process.inserted()
    process.marks.advance(claim)
    later = replace(claim, in_flight_until=claim.in_flight_until + MINUTE)

    assert process.marks.advance(later) is None
    assert mark(process)["in_flight_until"] == later.in_flight_until


def test_the_time_of_a_claim_only_grows(process: Process) -> None:
    claim = process.inserted()
    process.marks.advance(claim)

    assert process.marks.advance(replace(claim, in_flight_until=NOON)) is None

    assert mark(process)["in_flight_until"] == claim.in_flight_until


def test_the_time_of_another_claim_is_replaced(process: Process) -> None:
    first = process.inserted("20")
    process.marks.advance(replace(first, in_flight_until=NOON + 60 * MINUTE))
    process.claims.update(first, replace(first, state=State.STARTED))
    second = process.inserted("21")

    assert process.marks.advance(second) is None
    assert mark(process)["in_flight_until"] == second.in_flight_until


def test_a_start_by_hand_passes_a_newer_mark_and_does_not_lower_it(process: Process) -> None:
    newer = process.inserted("21")
    process.marks.advance(newer)
    recorded(process, newer, State.STARTED)
    by_hand = process.inserted("20", "a-key")

    assert process.marks.advance(by_hand) is None

    assert mark(process) == {
        "version": "21",
        "brought_by": newer.row,
        "in_flight": by_hand.row,
        "in_flight_until": by_hand.in_flight_until,
        "first": "",
    }
    assert process.marks.advance(process.inserted("22")) == Obstacle(in_flight="20")


def test_a_start_by_hand_waits_for_a_request_in_flight_and_raises_the_mark(process: Process) -> None:
    first = process.inserted("20")
    process.marks.advance(first)
    by_hand = process.inserted("21", "a-key")

    assert process.marks.advance(by_hand) == Obstacle(in_flight="20")
    recorded(process, first, State.STARTED)

    assert process.marks.advance(by_hand) is None
    assert (mark(process)["version"], mark(process)["brought_by"]) == ("21", by_hand.row)


def test_a_version_that_a_person_started_is_superseded(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    process.marks.advance(by_hand)
    recorded(process, by_hand, State.STARTED)

    assert process.marks.advance(process.inserted("20")) == Obstacle(sent="20", manually=True)


def test_a_version_that_a_person_is_starting_waits(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    process.marks.advance(by_hand)
    recorded(process, by_hand, State.UNKNOWN)

    assert process.marks.advance(process.inserted("20")) == Obstacle(in_flight="20")


def test_a_version_waits_for_a_person_s_start_whose_release_may_exist_long_after_its_request(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    process.marks.advance(by_hand)
    recorded(process, by_hand, State.UNKNOWN)
    process.later(DAY)

    assert process.marks.advance(process.inserted("20")) == Obstacle(in_flight="20")
    assert process.marks.advance(process.inserted("21")) is None


def test_a_version_follows_an_older_one_that_another_process_started_by_hand(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    Process(shares=process).marks.advance(by_hand)
    recorded(process, by_hand, State.STARTED)

    assert process.marks.advance(process.inserted("21")) is None


def test_a_version_follows_one_whose_request_is_not_in_flight_although_the_mark_says_so(process: Process) -> None:
    first = process.inserted("20")
    process.marks.advance(first)
    process.claims.update(first, replace(first, state=State.UNKNOWN, in_flight_until=NOON))

    assert process.marks.advance(process.inserted("21")) is None


def test_a_version_whose_start_by_hand_was_refused_goes_on(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    process.marks.advance(by_hand)
    recorded(process, by_hand, State.REFUSED)
    claim = process.inserted("20")

    assert process.marks.advance(claim) is None
    assert (mark(process)["brought_by"], mark(process)["in_flight"]) == (by_hand.row, claim.row)


def test_a_start_by_hand_repeats_the_version_of_the_mark(process: Process) -> None:
    claim = process.inserted("20")
    process.marks.advance(claim)
    recorded(process, claim, State.STARTED)
    by_hand = process.inserted("20", "a-key")

    assert process.marks.advance(by_hand) is None
    assert (mark(process)["brought_by"], mark(process)["in_flight"]) == (claim.row, by_hand.row)


def test_of_two_starts_by_hand_the_second_is_not_superseded(process: Process) -> None:
    first = process.inserted("20", "a-key")
    process.marks.advance(first)
    recorded(process, first, State.STARTED)

    assert process.marks.advance(process.inserted("20", "b-key")) is None


def test_a_newer_version_does_not_ask_who_brought_an_older_one(process: Process) -> None:
    by_hand = process.inserted("20", "a-key")
    process.marks.advance(by_hand)
    recorded(process, by_hand, State.STARTED)
    process.client.operations.clear()
    claim = process.inserted("21")
    process.client.operations.clear()

    assert process.marks.advance(claim) is None
    assert process.client.operations == ["update_entity"]


def test_the_claim_in_flight_is_not_the_one_that_brought_the_mark(process: Process) -> None:
    first = process.inserted("20", "a-key")
    process.marks.advance(first)
    recorded(process, first, State.STARTED)
    second = process.inserted("20", "b-key")
    process.marks.advance(second)
    recorded(process, second, State.UNKNOWN)

    assert process.marks.advance(process.inserted("20")) == Obstacle(sent="20", manually=True)
    process.table.put(PARTITION, DIGEST, **mark(process) | {"brought_by": second.row, "in_flight": first.row})
    assert Process(shares=process).marks.advance(process.inserted("20")) == Obstacle(in_flight="20")


def test_the_mark_that_this_process_wrote_is_not_read_again(process: Process) -> None:
    first, second = process.inserted("20"), process.inserted("21")
    process.marks.advance(first)
    recorded(process, first, State.STARTED)
    process.client.operations.clear()

    assert process.marks.advance(second) is None

    assert process.client.operations == ["update_entity"]


def test_a_mark_that_this_process_raised_is_not_read_again(process: Process) -> None:
    for version in ("20", "21"):
        claim = process.inserted(version)
        process.marks.advance(claim)
        recorded(process, claim, State.STARTED)
    newest = process.inserted("22")
    process.client.operations.clear()

    assert process.marks.advance(newest) is None

    assert process.client.operations == ["update_entity"]


def test_the_claim_in_the_mark_is_not_read_once_its_time_is_over(process: Process) -> None:
    process.marks.advance(process.inserted("20"))
    newer = process.inserted("21")
    process.later(6 * MINUTE)
    process.client.operations.clear()

    assert process.marks.advance(newer) is None

    assert process.client.operations == ["update_entity"]


def test_a_remembered_mark_supersedes_only_after_it_is_read_again(process: Process) -> None:
    newer = process.inserted("21")
    process.marks.advance(newer)
    recorded(process, newer, State.STARTED)
    process.table.put(PARTITION, DIGEST, **mark(process) | {"version": "19"})

    assert process.marks.advance(process.inserted("20")) is None


def test_a_mark_that_another_process_wrote_first_is_read_again(process: Process) -> None:
    other, claim, newer = Process(shares=process), process.inserted("20"), process.inserted("21")
    process.once("before create_entity", lambda: other.marks.advance(newer))

    assert process.marks.advance(claim) == sent("21")


def test_a_mark_that_another_process_changed_is_read_again(process: Process) -> None:
    other = Process(shares=process)
    first, second, third = (process.inserted(version) for version in ("20", "21", "22"))
    process.marks.advance(first)
    recorded(process, first, State.STARTED)
    other.marks.advance(third)

    assert process.marks.advance(second) == sent("22")


def test_other_errors_of_storage_are_raised(process: Process) -> None:
    claim = process.inserted()
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.marks.advance(claim)


@pytest.mark.parametrize("state", [State.WAITING, State.REFUSED, State.UNKNOWN])
def test_a_claim_that_is_not_final_is_read_by_the_next_version(process: Process, state: State) -> None:
    first, second = process.inserted("20"), process.inserted("21")
    process.marks.advance(first)
    recorded(process, first, state)
    process.client.operations.clear()

    process.marks.advance(second)

    assert process.client.operations[0] == "get_entity"


def test_a_claim_that_is_not_in_the_mark_does_not_land(process: Process) -> None:
    first, older = process.inserted("20"), process.inserted("19")
    process.marks.land(replace(older, state=State.STARTED))
    process.marks.advance(first)

    process.marks.land(replace(older, state=State.SUPERSEDED))

    assert process.marks.advance(process.inserted("21")) == Obstacle(in_flight="20")
    assert process.marks._remembered[PARTITION, DIGEST].in_flight_until != NEVER


def test_the_mark_is_set_back_to_an_older_version(process: Process) -> None:
    newer, older = process.inserted("100"), process.inserted("20")
    process.marks.advance(newer)
    recorded(process, newer, State.REFUSED)

    process.marks.set_back(older)

    assert mark(process) == {
        "version": "20",
        "brought_by": older.row,
        "in_flight": newer.row,
        "in_flight_until": newer.in_flight_until,
        "first": "",
    }
    assert Process(shares=process).marks.advance(process.inserted("21")) is None


def test_a_mark_that_is_not_newer_is_not_set_back(process: Process) -> None:
    claim = process.inserted("20")
    process.marks.set_back(claim)
    assert process.rows(PARTITION).keys() == {claim.row}
    process.marks.advance(claim)

    before = process.rows(PARTITION)[DIGEST].metadata["etag"]
    process.marks.set_back(claim)
    process.marks.set_back(process.inserted("21"))
    assert process.rows(PARTITION)[DIGEST].metadata["etag"] == before


def test_a_mark_that_changes_while_it_is_set_back_is_read_again(process: Process) -> None:
    newer, older = process.inserted("30"), process.inserted("20")
    process.marks.advance(newer)
    raised = mark(process) | {"version": "31"}
    process.once("before update_entity", lambda: process.table.put(PARTITION, DIGEST, **raised))

    process.marks.set_back(older)

    assert mark(process)["version"] == "20"


def test_the_newer_version_of_the_mark_is_reported(process: Process) -> None:
    claim = process.inserted("20")
    assert process.marks.newer_sent(claim) == ""
    process.marks.advance(claim)

    assert process.marks.newer_sent(process.inserted("9")) == "20"
    assert process.marks.newer_sent(claim) == ""
    assert process.marks.newer_sent(process.inserted("100")) == ""


def test_an_obstacle_names_nothing_by_default() -> None:
    assert Obstacle() == Obstacle(sent="", in_flight="", manually=False, brought_by="")


def test_a_lower_version_passes_a_mark_whose_version_is_gone(process: Process) -> None:
    process.marks.advance(process.inserted("20"))
    process.later(6 * MINUTE)

    assert process.marks.advance(process.inserted("1"), gone="19")
    assert process.marks.advance(process.inserted("1"), gone="20") is None
    process.later(6 * MINUTE)
    assert process.marks.advance(process.inserted("2")) is None


def test_a_lower_version_waits_for_the_request_of_a_version_that_is_gone(process: Process) -> None:
    process.marks.advance(process.inserted("20"))

    assert process.marks.advance(process.inserted("1"), gone="20") == Obstacle(in_flight="20")


A_PIN = Pin("20", f"20 {DIGEST} a-key", NOON, "alice", by_verified=True, comment="21 regressed on EU")


def test_a_pin_is_kept_in_the_row_of_a_mark_that_exists_and_of_one_that_does_not(process: Process) -> None:
    process.marks.set_pin(PARTITION, DIGEST, A_PIN)

    assert process.marks.pin(PARTITION, DIGEST) == A_PIN

    claim = process.inserted()
    process.marks.set_pin(PARTITION, DIGEST, replace(A_PIN, version="19"))

    assert process.marks.pin(PARTITION, DIGEST) == replace(A_PIN, version="19")
    assert process.marks.newer_sent(claim) == ""


def test_a_pin_without_person_and_comment_begins_a_row_without_versions(process: Process) -> None:
    process.marks.set_pin(PARTITION, DIGEST, Pin("20", "", NOON))

    assert mark(process) == {
        "version": "",
        "brought_by": "",
        "in_flight": "",
        "in_flight_until": NEVER,
        "first": "",
        "pin_version": "20",
        "pin_start": "",
        "pin_since": NOON,
        "pin_by": "",
        "pin_by_verified": False,
        "pin_comment": "",
    }


def test_a_mark_that_advances_keeps_its_pin(process: Process) -> None:
    claim = process.inserted("21", "a-key")
    process.marks.advance(claim)
    pin = replace(A_PIN, start=claim.row)
    process.marks.set_pin(PARTITION, DIGEST, pin)

    assert mark(process)["version"] == "21"
    process.marks.advance(replace(claim, pins=True))
    assert process.marks.pin(PARTITION, DIGEST) == pin


def test_a_start_by_hand_is_kept_back_by_a_pin_of_its_version_that_another_start_brought(process: Process) -> None:
    start = process.inserted("20", "a-key")
    pin = replace(A_PIN, start=start.row)
    process.marks.set_pin(PARTITION, DIGEST, pin)
    recorded(process, start, State.STARTED)

    assert process.marks.advance(process.inserted("20", "b-key")) == Obstacle(pin=pin)
    assert process.marks.advance(process.inserted("20")) == Obstacle(sent="20", manually=True)


@pytest.mark.parametrize("is_inserted", [False, True])
def test_a_version_is_kept_back_until_the_start_with_its_pin_has_started(
    process: Process, *, is_inserted: bool
) -> None:
    start = process.inserted("20", "a-key") if is_inserted else process.new("20", "a-key").claim
    pin = replace(A_PIN, start=start.row)
    process.marks.set_pin(PARTITION, DIGEST, pin)

    assert process.marks.advance(process.inserted("20")) == Obstacle(pin=pin)


def test_only_the_pin_that_a_person_saw_is_removed(process: Process) -> None:
    assert process.marks.remove_pin(PARTITION, DIGEST, A_PIN, "")
    process.marks.set_pin(PARTITION, DIGEST, A_PIN)

    assert not process.marks.remove_pin(PARTITION, DIGEST, replace(A_PIN, by="bob"), "")
    assert process.marks.pin(PARTITION, DIGEST) == A_PIN
    assert process.marks.remove_pin(PARTITION, DIGEST, A_PIN, "")
    assert process.marks.pin(PARTITION, DIGEST) is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.IGNORED])
def test_an_older_version_waits_for_the_one_that_is_started_first_until_that_one_has_ended(
    process: Process, state: State
) -> None:
    newest = process.inserted("22")
    process.marks.set_pin(PARTITION, DIGEST, A_PIN)
    process.marks.remove_pin(PARTITION, DIGEST, A_PIN, newest.row)
    recorded(process, newest, state)

    obstacle = process.marks.advance(process.inserted("21"))

    ended = state.final or state is State.REFUSED
    assert obstacle == (None if ended else Obstacle(first="22"))


def test_the_version_that_is_started_first_a_newer_one_and_a_start_by_hand_do_not_wait(process: Process) -> None:
    first, newer, by_hand = process.inserted("22"), process.inserted("23"), process.inserted("20", "a-key")
    process.marks.set_pin(PARTITION, DIGEST, A_PIN)
    process.marks.remove_pin(PARTITION, DIGEST, A_PIN, first.row)

    for claim in (by_hand, first, newer):
        assert process.marks.advance(claim) is None
        recorded(process, claim, State.STARTED)
    assert mark(process)["first"] == ""


def test_a_newer_version_passes_the_one_that_is_started_first_and_the_same_one_registered_anew_waits(
    process: Process,
) -> None:
    first = process.inserted("22")
    process.marks.set_pin(PARTITION, DIGEST, A_PIN)
    process.marks.remove_pin(PARTITION, DIGEST, A_PIN, first.row)
    anew = replace(process.new("22").claim, row=f"{first.row} registered-now")

    assert process.marks.advance(process.claims.insert(anew)[0]) == Obstacle(first="22")
    assert process.marks.advance(process.inserted("23")) is None


def test_a_pin_is_not_lost_if_the_row_changes_meanwhile(process: Process) -> None:
    claim = process.inserted()
    process.once("before create_entity", lambda: Process(shares=process).marks.advance(claim))

    process.marks.set_pin(PARTITION, DIGEST, A_PIN)

    assert process.marks.pin(PARTITION, DIGEST) == A_PIN
    assert mark(process)["version"] == "20"

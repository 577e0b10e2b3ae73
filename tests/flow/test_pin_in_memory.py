"""Pins: a version that a person pinned stays, whatever is registered, until the pin is removed."""

from random import Random

import pytest

from model_release.domain.claims import State, claim_row, target_digest
from model_release.domain.history import ByHand, HistoryEntry
from model_release.errors import RefusedError, TemporaryError, UnknownOutcomeError
from model_release.flow.steer import LineNow, pin_what_is_out, read_lines, unpin
from model_release.reason import ReasonKind
from model_release.store.high_water_mark import Pin
from tests.environment import FULL, Size
from tests.in_memory import DAY, HOUR, MINUTE, NOON, PARTITION, SECOND, TARGET, WORKSPACE, Process, event_body

ALICE, BOB = ByHand("alice", comment="21 regressed on EU", pins=True), ByHand("bob", comment="fixed")
DIGEST = target_digest(TARGET)
ORDERS = pytest.mark.parametrize("process", ["newest", "every"], indirect=True)


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Process:
    return Process(order=getattr(request, "param", "newest"))


def registered(process: Process, version: str) -> HistoryEntry:
    (entry,) = process.start_release.registered(event_body(version))
    return entry


def waiting(process: Process, version: str) -> HistoryEntry:
    """Register a version while Azure DevOps is unavailable."""
    process.azure_devops.identifying = [TemporaryError("503")]
    return registered(process, version)


def start(process: Process, version: str, by_hand: ByHand = ALICE, key: str = "the-first-key") -> HistoryEntry:
    claim = process.claims.get(PARTITION, claim_row(version, DIGEST))
    (entry,) = process.start_release.restart(claim, key, by_hand)
    return entry


def line(process: Process) -> LineNow:
    (found,) = read_lines(WORKSPACE, "churn", process.recorder)
    return found


def states(process: Process) -> dict[str, str]:
    recorded = process.claims.recorded(WORKSPACE, "churn")
    return {
        claim.row.replace(f" {DIGEST}", ""): claim.state.value
        for version in recorded.values()
        for claim in version.claims
    }


def a_minute_later(process: Process) -> None:
    process.later(MINUTE + SECOND)
    process.sweep.run()


@ORDERS
def test_a_pinned_version_stays_and_newer_ones_are_held(process: Process) -> None:
    registered(process, "20")
    registered(process, "21")
    waiting(process, "24")

    assert start(process, "20").state is State.STARTED

    held = registered(process, "25")
    a_minute_later(process)
    assert process.azure_devops.versions == ["20", "21", "20"]
    assert states(process) == {
        "20": "started",
        "20 the-first-key": "started",
        "21": "started",
        "24": "held",
        "25": "held",
    }
    assert held.reason == "20 is pinned since 2030-01-01 12:00 UTC by alice: 21 regressed on EU"


def test_removing_the_pin_starts_the_newest_version_and_supersedes_the_others(process: Process) -> None:
    for version in ("20", "24"):
        registered(process, version)
    start(process, "20")
    for version in ("26", "25", "27"):
        registered(process, version)

    entries = unpin(line(process), BOB, process.sweep, keep=False)

    assert [(entry.model_version[1], entry.state) for entry in entries[1:]] == [
        ("27", State.STARTED),
        ("26", State.SUPERSEDED),
        ("25", State.SUPERSEDED),
    ]
    assert (entries[0].model_version[1], entries[0].reason) == ("20", "pin of 20 removed by bob: fixed")
    assert process.azure_devops.versions == ["20", "24", "20", "27"]
    assert not process.rows("pending")


@pytest.mark.parametrize("first", [[], [RefusedError("no stage", "add one")]])
def test_the_removal_of_a_pin_is_shown_with_the_newest_version_if_the_pinned_one_is_not_out(
    process: Process, first: list[Exception]
) -> None:
    process.azure_devops.creating = [*first]
    registered(process, "20")
    waiting(process, "21")
    process.azure_devops.identifying = [TemporaryError("503")]
    start(process, "21")

    removed, *_ = unpin(line(process), BOB, process.sweep, keep=True)

    assert removed.model_version == ("churn", "21")


def test_the_next_version_is_started_after_a_pin_that_kept_nothing_back_is_removed(process: Process) -> None:
    registered(process, "20")
    start(process, "20")

    unpin(line(process), BOB, process.sweep, keep=False)

    assert registered(process, "21").state is State.STARTED


def test_a_version_without_an_order_is_started_when_the_pin_is_removed(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    assert registered(process, "22-b").state is State.HELD

    unpin(line(process), BOB, process.sweep, keep=False)

    assert states(process)["22-b"] == "started"


def test_an_older_version_does_not_wait_for_a_start_of_a_person_when_the_pin_is_removed(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "21")
    process.inserted("22", "a-plain-key")

    unpin(line(process), BOB, process.sweep, keep=False)

    assert states(process)["21"] == "started"


def test_with_order_every_no_version_is_first_when_the_pin_is_removed() -> None:
    process = Process(order="every")
    registered(process, "20")
    start(process, "20")
    registered(process, "21")

    unpin(line(process), BOB, process.sweep, keep=False)

    assert process.rows(PARTITION)[DIGEST]["first"] == ""


def test_with_order_every_all_that_was_held_is_started_oldest_first() -> None:
    process = Process(order="every")
    registered(process, "20")
    start(process, "20")
    for version in ("23", "21", "22"):
        registered(process, version)

    unpin(line(process), BOB, process.sweep, keep=False)

    assert process.azure_devops.versions == ["20", "20", "21", "22", "23"]


@ORDERS
def test_removing_the_pin_and_keeping_the_version_starts_nothing(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    waiting(process, "21")
    registered(process, "22")

    entries = unpin(line(process), BOB, process.sweep, keep=True)
    a_minute_later(process)

    assert [entry.reason for entry in entries[1:]] == ["20 is kept by bob: fixed"] * 2
    assert states(process) == {
        "20": "started",
        "20 the-first-key": "started",
        "21": "superseded",
        "22": "superseded",
    }
    assert process.azure_devops.versions == ["20", "20"]
    assert process.marks.pin(PARTITION, DIGEST) is None
    assert registered(process, "23").state is State.STARTED


def test_a_refusal_to_keep_the_version_leaves_the_start_of_its_pin_as_it_is(process: Process) -> None:
    registered(process, "20")
    process.azure_devops.creating = [RefusedError("no permission", "grant it")]
    assert start(process, "20", key="a-refused-key").state is State.REFUSED
    process.azure_devops.identifying = [TemporaryError("503")]
    registered(process, "21")
    process.azure_devops.identifying = [TemporaryError("503")]
    start(process, "21")
    process.azure_devops.finding = [TemporaryError("503")]

    with pytest.raises(RefusedError, match=r"^version 20 may have been created"):
        unpin(line(process), BOB, process.sweep, keep=True)

    assert states(process)["21 the-first-key"] == "waiting"
    a_minute_later(process)
    assert states(process)["21 the-first-key"] == "started"


def test_the_start_of_a_pin_that_another_worker_has_ends_there(process: Process) -> None:
    registered(process, "20")
    process.azure_devops.identifying = [TemporaryError("503")]
    start(process, "20")
    seen, other = line(process), Process(shares=process)
    pin = process.marks.pin(PARTITION, DIGEST)
    assert pin
    other.claims.acquire(process.claims.get(PARTITION, pin.start))

    unpin(seen, BOB, process.sweep, keep=True)

    assert process.marks.pin(PARTITION, DIGEST) is None


@ORDERS
def test_a_pin_holds_while_azure_devops_is_unavailable(process: Process) -> None:
    registered(process, "20")
    process.azure_devops.identifying = [TemporaryError("503")]
    assert start(process, "20").state is State.WAITING

    assert registered(process, "21").state is State.HELD
    a_minute_later(process)

    assert process.azure_devops.versions == ["20", "20"]


def test_a_held_version_is_tried_again_at_most_hourly(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "22")
    process.later(30 * MINUTE)
    registered(process, "21")
    attempts = []
    for _ in range(4 * 60):
        a_minute_later(process)
        claim = process.claims.get(PARTITION, claim_row("22", DIGEST))
        attempts.append(claim.attempt)

    assert attempts[-1] - 1 in (3, 4)
    assert states(process)["22"] == "held"


def test_the_time_for_which_a_version_is_held_does_not_count_towards_the_seven_days(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "21")
    for _ in range(20):
        process.later(DAY)
        process.sweep.run()
    assert process.pending.count().claims == 0
    process.later(20 * DAY)

    unpin(line(process), BOB, process.sweep, keep=False)

    assert states(process)["21"] == "started"


def test_a_version_that_was_held_does_not_count_as_old_while_it_waits(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "21")
    process.later(20 * DAY)
    process.azure_devops.identifying = [TemporaryError("503")]
    unpin(line(process), BOB, process.sweep, keep=False)

    process.later(MINUTE)

    assert process.pending.count().age(process.clock()) == 60


def test_a_plain_start_on_a_pinned_line_is_refused_before_anything_is_written(process: Process) -> None:
    for version in ("20", "21"):
        registered(process, version)
    start(process, "20")
    before = {key: dict(row) for key, row in process.client.rows.items()}

    with pytest.raises(RefusedError, match=r"^20 is pinned since .* by alice: 21 regressed on EU; remove the pin"):
        start(process, "21", BOB, "another-key")

    assert {key: dict(row) for key, row in process.client.rows.items()} == before


def test_a_plain_start_that_finds_a_pin_later_is_withdrawn(process: Process) -> None:
    for version in ("20", "21"):
        registered(process, version)
    process.azure_devops.identifying = [TemporaryError("503")]
    assert start(process, "20", BOB, "a-plain-key").state is State.WAITING

    start(process, "21", ALICE)
    a_minute_later(process)

    assert states(process)["20 a-plain-key"] == "withdrawn"
    assert process.azure_devops.versions == ["20", "21", "21"]


@ORDERS
@pytest.mark.parametrize("moved", [False, True])
def test_a_pinned_start_that_no_longer_finds_itself_in_the_pin_is_withdrawn(process: Process, *, moved: bool) -> None:
    for version in ("20", "21"):
        registered(process, version)
    process.azure_devops.identifying = [TemporaryError("503")]
    start(process, "20")

    if moved:
        start(process, "21", ALICE, "another-key")
    else:
        _, ended = unpin(line(process), BOB, process.sweep, keep=True)
        assert (ended.state, ended.reason_kind) == (State.WITHDRAWN, ReasonKind.PIN_REMOVED)
    a_minute_later(process)

    assert states(process)["20 the-first-key"] == "withdrawn"
    assert process.azure_devops.versions == ["20", "21"] + ["21"] * moved


@ORDERS
def test_the_same_version_that_was_registered_is_superseded_by_its_pinned_start(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    assert registered(process, "21").state is State.HELD

    assert start(process, "21", ALICE, "another-key").state is State.STARTED
    unpin(line(process), BOB, process.sweep, keep=False)

    assert states(process)["21"] == "superseded"
    assert process.azure_devops.versions == ["20", "20", "21"]


def test_a_pinned_start_that_waits_is_withdrawn_when_its_pin_is_removed(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "21")
    process.azure_devops.identifying = [TemporaryError("503")]
    start(process, "21", ALICE, "another-key")

    unpin(line(process), BOB, process.sweep, keep=False)
    a_minute_later(process)

    assert (states(process)["21"], states(process)["21 another-key"]) == ("started", "withdrawn")


def test_the_same_version_is_held_while_its_pinned_start_may_be_created(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    registered(process, "21")
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    assert start(process, "21", ALICE, "another-key").state is State.UNKNOWN

    process.later(HOUR)
    process.sweep.run()

    assert process.azure_devops.versions == ["20", "20", "21", "21"]
    assert (states(process)["21"], states(process)["21 another-key"]) == ("superseded", "started")


def test_a_version_that_may_have_been_created_is_not_started_with_a_pin(process: Process) -> None:
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    registered(process, "20")

    with pytest.raises(RefusedError, match=r"^version 20 may have been created; try again when its state is known$"):
        start(process, "20")

    assert process.marks.pin(PARTITION, DIGEST) is None


def test_a_repeated_start_does_not_set_its_pin_again(process: Process) -> None:
    registered(process, "20")
    start(process, "20")
    unpin(line(process), BOB, process.sweep, keep=False)

    assert start(process, "20").reason.startswith("already recorded")

    assert process.marks.pin(PARTITION, DIGEST) is None


def test_a_start_that_was_cut_off_after_its_pin_is_completed_by_its_repetition(process: Process) -> None:
    registered(process, "20")
    claim = process.claims.get(PARTITION, claim_row("20", DIGEST))
    process.fail("before upsert_entity", OSError("killed"))
    with pytest.raises(OSError, match="killed"):
        process.start_release.restart(claim, "the-first-key", ALICE)
    assert process.marks.pin(PARTITION, DIGEST) == Pin(
        "20", claim_row("20", DIGEST, "the-first-key"), NOON, "alice", comment="21 regressed on EU"
    )
    assert registered(process, "21").state is State.HELD
    assert not line(process).is_kept

    start(process, "20")

    assert line(process).is_kept
    assert process.azure_devops.versions == ["20", "20"]


@ORDERS
def test_what_is_out_is_pinned_without_a_start(process: Process) -> None:
    for version in ("20", "21"):
        registered(process, version)
    process.later(SECOND)
    start(process, "20", BOB)

    (entry,) = pin_what_is_out(line(process), ALICE, process.start_release)

    assert (entry.reason, entry.by) == ("pinned by alice: 21 regressed on EU", "alice")
    assert registered(process, "22").state is State.HELD
    pin = process.marks.pin(PARTITION, DIGEST)
    assert pin
    assert (pin.version, pin.start) == ("20", "")
    assert line(process).is_kept
    assert process.azure_devops.versions == ["20", "21", "20"]


def test_the_version_that_was_started_last_is_out(process: Process) -> None:
    for version in ("20", "21", "22"):
        registered(process, version)
        process.later(SECOND)
    start(process, "21", BOB)

    out = line(process).out

    assert out
    assert (out.version, out.idempotency_key) == ("21", "the-first-key")


def test_a_pin_says_what_may_still_be_created(process: Process) -> None:
    registered(process, "20")
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    registered(process, "21")

    (entry,) = pin_what_is_out(line(process), ALICE, process.start_release)

    assert entry.reason.endswith("; version 21 may still be created, because its request may have been sent")


def test_only_the_events_of_pending_claims_are_read_for_the_lines_of_a_model(process: Process) -> None:
    registered(process, "19")
    waiting(process, "20")
    process.client.events_read.clear()

    found = line(process)

    assert found.out
    assert (found.out.version, [claim.version for claim in found.pending]) == ("19", ["20"])
    assert {row.partition(" ")[0] for _, row in process.client.events_read} == {"20"}


def test_a_line_on_which_nothing_was_started_is_not_pinned(process: Process) -> None:
    waiting(process, "20")

    with pytest.raises(RefusedError, match=r"^no version of churn was started at p/train; start a version with a pin$"):
        pin_what_is_out(line(process), ALICE, process.start_release)


def test_a_line_without_a_pin_is_not_unpinned(process: Process) -> None:
    registered(process, "20")

    with pytest.raises(RefusedError, match=r"^churn is not pinned at p/train; there is nothing to remove$"):
        unpin(line(process), BOB, process.sweep, keep=False)


def test_a_pin_that_another_person_moved_meanwhile_is_not_removed(process: Process) -> None:
    for version in ("20", "21"):
        registered(process, version)
    start(process, "20")
    seen = line(process)
    start(process, "21", ByHand("carol", comment="20 is slow", pins=True), "another-key")

    with pytest.raises(RefusedError, match=r"^21 is pinned since .* by carol: 20 is slow; read it again$"):
        unpin(seen, BOB, process.sweep, keep=False)

    assert process.marks.pin(PARTITION, DIGEST)


def test_a_pin_that_was_moved_and_removed_meanwhile_has_changed(process: Process) -> None:
    for version in ("20", "21"):
        registered(process, version)
    start(process, "20")
    seen = line(process)
    start(process, "21", ALICE, "another-key")
    process.once("after get_entity", lambda: unpin(line(process), ALICE, process.sweep, keep=True))

    with pytest.raises(RefusedError, match=r"^the pin has changed; read it again$"):
        unpin(seen, BOB, process.sweep, keep=True)


def test_nothing_is_written_if_a_version_that_is_to_be_closed_may_have_been_created(process: Process) -> None:
    registered(process, "20")
    process.azure_devops.creating = [UnknownOutcomeError("no answer")]
    registered(process, "21")
    pin_what_is_out(line(process), ALICE, process.start_release)
    before = dict(process.client.rows)

    with pytest.raises(RefusedError, match=r"^version 21 may have been created"):
        unpin(line(process), BOB, process.sweep, keep=True)

    assert process.client.rows == before


def test_what_was_held_is_taken_up_within_a_minute_if_the_process_dies_after_the_pin_is_removed(
    process: Process,
) -> None:
    registered(process, "20")
    start(process, "20")
    for version in ("22", "21"):
        registered(process, version)
        process.later(SECOND)
    seen = line(process)
    process.fail("before query_entities", OSError("killed"))
    with pytest.raises(OSError, match="killed"):
        unpin(seen, BOB, process.sweep, keep=False)
    assert process.marks.pin(PARTITION, DIGEST) is None

    a_minute_later(process)

    assert process.azure_devops.versions == ["20", "20", "22"]
    assert states(process)["21"] == "superseded"


def test_an_attempt_of_an_older_version_does_not_pass_the_newest_when_the_pin_is_removed(
    process: Process,
) -> None:
    registered(process, "20")
    start(process, "20")
    for version in ("21", "22"):
        registered(process, version)
    older, seen = process.claims.get(PARTITION, claim_row("21", DIGEST)), line(process)
    process.fail("before query_entities", OSError("killed"))
    with pytest.raises(OSError, match="killed"):
        unpin(seen, BOB, process.sweep, keep=False)

    (entry,) = process.start_release.resume(older)

    assert (entry.state, entry.reason) == (State.WAITING, "version 22 is started first")
    a_minute_later(process)
    assert process.azure_devops.versions == ["20", "20", "22"]
    assert states(process)["21"] == "superseded"


@pytest.mark.parametrize(("order", "released"), [("newest", ["22"]), ("every", ["20", "21", "22"])])
def test_what_waits_is_released_newest_first_or_with_order_every_oldest_first(
    order: str, released: list[str], size: Size
) -> None:
    for seed in range(size(10, 200)):
        random, process = Random(seed), Process(order=order)
        versions = ["20", "21", "22"]
        random.shuffle(versions)
        for version in versions:
            waiting(process, version)
            process.later(random.randrange(120) * SECOND)
        outages = random.randrange(4)
        for _ in range(outages):
            process.azure_devops.identifying = [TemporaryError("503")]
            process.later(random.randrange(180) * SECOND)
            process.sweep.run()
        process.azure_devops.identifying = []
        for _ in range(10):
            process.later(random.randrange(30, 90) * SECOND)
            process.sweep.run()

        assert process.azure_devops.versions == released, seed
        assert set(states(process).values()) <= {"started", "superseded"}
        assert not process.rows("pending")


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed < 10 else FULL) for seed in range(20)])
def test_what_was_held_is_released_newest_first_however_its_attempts_fell(seed: int) -> None:
    random, process = Random(seed), Process()
    registered(process, "20")
    start(process, "20")
    versions = ["21", "22", "23"]
    random.shuffle(versions)
    for version in versions:
        registered(process, version)
        process.later(random.randrange(3600) * SECOND)
        process.sweep.run()

    process.azure_devops.identifying = [TemporaryError("503")] * random.randrange(3)
    unpin(line(process), BOB, process.sweep, keep=False)
    for _ in range(10):
        a_minute_later(process)

    assert process.azure_devops.versions == ["20", "20", "23"]
    assert {states(process)[version] for version in ("21", "22")} == {"superseded"}


def test_a_version_is_not_pinned_at_a_target_that_was_never_resolved(process: Process) -> None:
    waiting(process, "20")

    with pytest.raises(
        RefusedError, match=r"^Azure DevOps has never resolved p/train; start the version without a pin"
    ):
        start(process, "20")

    assert process.marks.pin(PARTITION, DIGEST) is None

"""The overview: what was started last on each line, brought up to date by the sweep, and rebuilt from the history."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import Claim, State, target_digest
from model_release.domain.history import HistoryEntry, HistoryQuery
from model_release.errors import RefusedError, TemporaryError
from model_release.reason import ReasonKind
from model_release.store.high_water_mark import Pin
from model_release.store.history import KEEP, _newest_first
from model_release.store.overview import Overview, OverviewLine, applied
from model_release.web.overview import attention, targets
from tests.in_memory import DAY, HOUR, MINUTE, NOON, OTHER_TARGET, PARTITION, SECOND, TARGET, Process, event_body

LINE = f"{PARTITION} {target_digest(TARGET)}"


@pytest.fixture
def process() -> Process:
    """A process whose sweep brings the overview up to date."""
    process = Process(TARGET, OTHER_TARGET)
    return with_overview(process)


def with_overview(process: Process, **options: int) -> Process:
    overview = Overview(process.table, process.history, process.marks, process.clock, **options)
    process.sweep = replace(process.sweep, overview=overview)
    return process


def line(process: Process, of: str = LINE) -> OverviewLine:
    return next(one for one in process.sweep.overview.read() if one.id == of)


def versions(process: Process) -> tuple[str, list[str]]:
    """Return the version that was started last, and the others."""
    shown = line(process)
    return (
        shown.started.model_version[1] if shown.started else "",
        sorted(one.model_version[1] for one in shown.others.values()),
    )


def write(process: Process, version: str, key: str = "", **values: object) -> None:
    """Write the entry of a claim on the line."""
    process.history.write(replace(process.new(version, key).claim, **values))


def test_one_sweep_shows_what_was_started_on_each_target(process: Process) -> None:
    process.start_release.registered(event_body("20"))

    process.sweep.run()

    lines = process.sweep.overview.read()
    assert [one.started.model_version for one in lines] == [("churn", "20")] * 2
    assert sorted(one.last.target for one in lines) == ["p/other", "p/train"]


def test_a_version_that_is_refused_is_shown_until_it_is_started(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.azure_devops.creating = [RefusedError("no")] * 2
    process.later(MINUTE)
    process.start_release.registered(event_body("21"))
    process.sweep.run()
    assert versions(process) == ("20", ["21"])

    process.later(HOUR)
    process.sweep.run()

    assert versions(process) == ("21", [])


def test_a_rollback_is_the_version_that_was_started_last(process: Process) -> None:
    for version in ("20", "21"):
        process.start_release.registered(event_body(version))
        process.later(MINUTE)
    claims = process.claims.recorded(*_workspace(process), "20")["20"].claims
    process.start_release.restart(next(one for one in claims if one.target == TARGET), "a-key-of-a-person")

    process.sweep.run()

    assert versions(process) == ("20", [])
    assert line(process).started.restart


def _workspace(process: Process) -> tuple[object, str]:
    (workspace,) = process.start_release.workspaces
    return workspace, "churn"


def test_an_abandoned_version_is_shown_until_a_later_one_is_started(process: Process) -> None:
    process.azure_devops.creating = [RefusedError("no")] * 2
    process.start_release.registered(event_body("20"))
    process.later(8 * DAY)
    process.sweep.run()
    assert [one.state for one in line(process).others.values()] == [State.ABANDONED]

    process.start_release.registered(event_body("21"))
    process.sweep.run()

    assert versions(process) == ("21", [])


def test_a_superseded_version_is_not_shown(process: Process) -> None:
    process.start_release.registered(event_body("21"))
    process.start_release.registered(event_body("20"))

    process.sweep.run()

    assert versions(process) == ("21", [])


def test_an_entry_that_is_written_long_after_its_attempt_is_shown_by_the_next_sweep(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.later(HOUR)
    process.start_release.registered(event_body("22"))
    process.sweep.run()
    process.later(HOUR)
    # The process that started 23 died before it wrote the history, and its event is delivered again a day later.
    newer = process.inserted("23")
    final = process.claims.update(newer, replace(newer, state=State.STARTED))
    process.later(DAY)
    process.recorder.already_recorded(final)

    process.sweep.run()

    assert versions(process) == ("23", [])
    assert process.history.late() == []


def test_the_changes_may_come_in_any_order() -> None:
    changes = [
        (
            key,
            HistoryEntry(
                NOON + minute * MINUTE, state, "", ReasonKind.NONE, "", f"models/churn:{key}", line=LINE, attempt=1
            ),
        )
        for key, minute, state in (
            ("20", 1, State.STARTED),
            ("21", 2, State.REFUSED),
            ("21", 5, State.STARTED),
            ("22", 3, State.ABANDONED),
            ("23", 6, State.ABANDONED),
            ("24", 3, State.REFUSED),
            ("24", 4, State.WAITING),
        )
    ]
    results = []
    for seed in range(20):
        random.Random(seed).shuffle(changes)
        results.append(applied({}, changes)[LINE])

    assert {one.started_key for one in results} == {"21"}
    assert {one.last.time for one in results} == {NOON + 6 * MINUTE}
    for one in results:
        assert {key: entry.state for key, entry in one.others.items()} == {"23": State.ABANDONED, "24": State.WAITING}


def test_a_sweep_without_changes_writes_nothing(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.sweep.run()
    process.client.operations.clear()

    process.sweep.run()

    assert not {"create_entity", "update_entity", "upsert_entity"} & set(process.client.operations)


def test_a_sweep_reads_only_what_has_changed_since_the_last_one(process: Process) -> None:
    for version in range(20, 40):
        process.start_release.registered(event_body(str(version)))
        process.later(HOUR)
    process.sweep.run()
    read, changed = [], process.history.changed
    process.history.changed = lambda *asked: (read.append(entry) or entry for entry in changed(*asked))

    process.later(HOUR)
    process.start_release.registered(event_body("40"))
    process.sweep.run()

    assert len(read) <= 4
    assert versions(process) == ("40", [])


def test_a_history_without_lines_is_read_once(process: Process) -> None:
    process.history.write_alone(HistoryEntry(NOON, State.STARTED, "", ReasonKind.NONE, "", "models/churn:20"))

    process.sweep.run()

    assert row(process)["read_until"] == NOON


@pytest.mark.parametrize("read", [Overview.update, Overview.rebuild])
def test_an_entry_from_a_clock_that_is_ahead_hides_no_later_change(
    process: Process, read: Callable[[Overview], object]
) -> None:
    write(process, "20", created=NOON + HOUR, state=State.STARTED)
    read(process.sweep.overview)
    process.later(10 * MINUTE)
    write(process, "21", state=State.WAITING)

    process.sweep.run()

    assert versions(process) == ("20", ["21"])


def test_of_too_many_lines_those_that_changed_last_are_kept() -> None:
    process = with_overview(Process(TARGET, OTHER_TARGET), most_lines=1)
    process.start_release.registered(event_body("20"))
    process.later(HOUR)
    write(process, "21", state=State.STARTED)

    process.sweep.run()

    assert [one.id for one in process.sweep.overview.read()] == [LINE]


def test_an_overview_that_cannot_be_written_stops_nothing(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.azure_devops.creating = [TemporaryError("503")] * 2
    process.start_release.registered(event_body("21"))
    process.later(2 * MINUTE)
    process.fail("before query_entities", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.sweep.overview.update()


def test_a_rebuild_gives_the_same_lines_and_keeps_what_is_older_than_the_history(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.sweep.run()
    process.later(KEEP)
    process.sweep.run()
    assert process.history.page(HistoryQuery()).entries == ()
    process.azure_devops.creating = [RefusedError("no")] * 2
    process.start_release.registered(event_body("21"))
    process.sweep.run()
    before = line(process)

    assert process.sweep.overview.rebuild() == 2

    assert line(process) == before
    assert versions(process) == ("20", ["21"])


def test_a_rebuild_corrects_a_line(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.sweep.run()
    right = line(process)
    ghost = replace(right.started, state=State.WAITING)
    lines, until, etag = process.sweep.overview._read()
    process.sweep.overview._write(lines | {LINE: replace(right, others={"a ghost": ghost})}, until, etag)

    process.sweep.overview.rebuild()

    assert line(process) == right


def pinned(process: Process, version: str, start: Claim | None = None) -> None:
    pin = Pin(version, start.row if start else "", process.clock(), "Ada", comment="21 regressed")
    process.marks.set_pin(PARTITION, target_digest(TARGET), pin)
    by_ada = replace(HistoryEntry.of(process.new("20").claim), time=process.clock(), reason="pinned")
    process.history.write_alone(by_ada)


def test_a_pin_is_shown_with_the_next_sweep_and_until_it_is_lifted(process: Process) -> None:
    process.start_release.registered(event_body("20"))
    process.sweep.run()
    process.later(HOUR)
    pinned(process, "20")

    process.sweep.run()
    shown = line(process).pin
    assert (shown.version, shown.by, line(process).pin_waits) == ("20", "Ada", False)
    process.marks.remove_pin(PARTITION, target_digest(TARGET), shown, "")
    process.sweep.run()

    assert line(process).pin is None
    assert versions(process) == ("20", [])


def test_a_pin_that_is_removed_after_the_last_change_is_not_shown(process: Process) -> None:
    pinned(process, "20")
    process.sweep.run()
    process.later(HOUR)
    write(process, "21", state=State.STARTED)
    process.sweep.run()

    process.marks.remove_pin(PARTITION, target_digest(TARGET), line(process).pin, "")
    process.sweep.run()

    assert line(process).pin is None


@pytest.mark.parametrize(
    ("key", "attempt", "state", "is_read"),
    [
        ("", 0, State.STARTED, True),
        ("a-key-of-a-person", 1, State.STARTED, True),
        ("", 1, State.HELD, True),
        ("", 1, State.STARTED, False),
    ],
)
def test_a_sweep_reads_the_pin_where_a_person_acted_or_a_pin_kept_a_version_back(
    process: Process, key: str, attempt: int, state: State, *, is_read: bool
) -> None:
    process.marks.set_pin(PARTITION, target_digest(TARGET), Pin("20", "", NOON))
    write(process, "20", key, attempt=attempt, state=state)

    process.sweep.run()

    assert (line(process).pin is not None) is is_read


def test_a_rebuild_reads_the_pins_of_all_lines(process: Process) -> None:
    write(process, "20", state=State.STARTED)
    process.marks.set_pin(PARTITION, target_digest(TARGET), Pin("20", "", NOON))

    process.sweep.overview.rebuild()

    assert line(process).pin == Pin("20", "", NOON)


def test_a_pin_whose_start_is_out_needs_no_person(process: Process) -> None:
    start = process.new("20", "a-key-of-a-person").claim
    pinned(process, "20", start)
    process.history.write(replace(start, state=State.STARTED))

    process.sweep.run()

    assert not line(process).pin_waits


def test_a_pin_whose_start_is_not_out_yet_needs_a_person(process: Process) -> None:
    process.start_release.registered(event_body("21"))
    process.sweep.run()
    process.later(HOUR)
    start = process.new("20", "a-key-of-a-person").claim
    pinned(process, "20", start)

    process.sweep.run()

    assert line(process).pin_waits
    first = targets(process.sweep.overview.read(), HistoryQuery(), "")["targets"][0]
    assert (first["attention"], first["pin"]["waits"], first["target"]) == ("person", True, "p/train")


@pytest.mark.parametrize("models", [0, 1, 500])
def test_one_sweep_shows_each_of_many_models_at_three_targets(models: int) -> None:
    process = with_overview(Process())
    for model in range(models):
        for target in ("a", "b", "c"):
            key = f"{model:015x}{target}" * 2
            entry = HistoryEntry(
                process.clock(),
                State.REFUSED if model == 7 else State.STARTED,
                "a reason",
                ReasonKind.NONE,
                "",
                f"models/model-{model}:3",
                line=f"claim {model:016x} model-{model} {target}",
                target=f"p/{target}",
                attempt=1,
            )
            process.table.insert("history", f"{_newest_first(entry.time)} {key}", **stored(entry))
        process.later(SECOND)

    process.sweep.run()

    process.client.operations.clear()
    lines = process.sweep.overview.read()
    assert process.client.operations == ["get_entity"]
    shown = targets(lines, HistoryQuery(limit=50), "")
    assert len(lines) == models * 3
    assert len(shown["targets"]) == min(models * 3, 50)
    if models == 500:
        assert [one["model"] for one in shown["targets"][:4]] == ["model-7"] * 3 + ["model-499"]
        assert attention(lines, None, ())["counts"]["refused"] == 3
        assert targets(lines, HistoryQuery(limit=200, continuation="1400"), "")["continuation"] is None
        assert sum(len(part) for name, part in row(process).items() if name.startswith("event")) < 200_000


def row(process: Process) -> dict[str, bytes]:
    return process.rows("overview")["overview"]


def stored(entry: HistoryEntry) -> dict[str, object]:
    return vars(entry) | {"state": entry.state.value}

"""The history: one entry for each claim, newest first, in pages, for 90 days."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from operator import itemgetter
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError, ServiceRequestError

from model_release.domain.claims import Attempt, Claim, State
from model_release.domain.history import HistoryEntry, HistoryPage, HistoryQuery
from model_release.reason import ReasonKind
from model_release.store.history import MOST_READ
from tests.in_memory import DAY, HOUR, MINUTE, NOON, SECOND, Process, values


@pytest.fixture
def process() -> Process:
    return Process()


def written(process: Process, version: str, **changes: Any) -> Claim:
    claim = replace(process.new(version).claim, **changes)
    process.history.write(claim)
    process.later(SECOND)
    return claim


def ignored(process: Process, version: str = "1", **changes: Any) -> HistoryEntry:
    entry = HistoryEntry(
        process.clock(),
        State.IGNORED,
        "no route",
        ReasonKind.MODEL_NOT_NAMED,
        "an-id",
        f"models/churn:{version}",
        "a-workspace",
    )
    process.history.write_alone(replace(entry, **changes))
    process.later(SECOND)
    return replace(entry, **changes)


def versions(process: Process, **query: Any) -> list[str]:
    return [entry.subject.partition(":")[2] for entry in process.history.page(HistoryQuery(**query)).entries]


def test_an_entry_is_stored_under_a_number_that_falls_with_time(process: Process) -> None:
    claim = written(process, "20")

    (row,) = process.rows("history")
    number = 10**16 - 1 - int(NOON.timestamp() * 1_000_000)
    assert row == f"{number:016d} {claim.key}"


@pytest.mark.parametrize(
    ("time", "number"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), "9999999999999999"),
        (datetime(1969, 1, 1, tzinfo=UTC), "9999999999999999"),
        (datetime(9999, 1, 1, tzinfo=UTC), "0000000000000000"),
    ],
)
def test_the_number_of_any_time_has_16_digits(process: Process, time: datetime, number: str) -> None:
    claim = written(process, "20", created=time)

    assert list(process.rows("history")) == [f"{number} {claim.key}"]


def test_an_entry_is_read_as_it_was_written_without_what_is_for_the_log(process: Process) -> None:
    entry = ignored(process, milliseconds=7, log_reason="for the log")

    (row,) = process.rows("ignored").values()
    for_the_log = {"milliseconds", "log_reason", "unavailable", "absent"}
    assert set(values(row)) == set(HistoryEntry.__dataclass_fields__) - for_the_log
    (read,) = process.history.page(HistoryQuery(ignored=True)).entries
    assert read == entry
    assert (read.milliseconds, read.log_reason) == (0, "")
    assert read.state is State.IGNORED


def test_an_entry_that_belongs_to_no_claim_has_a_random_key_and_its_own_partition(process: Process) -> None:
    ignored(process)
    ignored(process, time=NOON)
    ignored(process, state=State.STARTED)

    assert len(process.rows("ignored")) == 2
    assert len(process.rows("history")) == 1
    assert all(re.fullmatch("[0-9]{16} [0-9a-f]{32}", row) for _, row in process.client.rows)


def test_values_that_another_version_of_the_app_wrote_are_ignored(process: Process) -> None:
    ignored(process)
    (row,) = process.rows("ignored").values()
    row["from_the_future"] = 1

    assert versions(process, ignored=True) == ["1"]


def attempted(claim: Claim, *minutes: int) -> list[Claim]:
    """Return the claim after each of several attempts."""
    attempts = [Attempt(number, NOON + minute * MINUTE, State.WAITING, "why") for number, minute in enumerate(minutes)]
    return [
        replace(claim, state=State.WAITING, attempts=tuple(attempts[: number + 1])) for number in range(len(minutes))
    ]


def entries(process: Process) -> list[HistoryEntry]:
    return list(process.history.page(HistoryQuery()).entries)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_history_has_the_last_attempt_of_a_claim_in_whichever_order_the_workers_write(
    process: Process, order: tuple[int, ...]
) -> None:
    claims = attempted(process.new().claim, 1, 2, 3)

    for number in [*order, 2]:
        process.history.write(claims[number])

    assert entries(process) == [HistoryEntry.of(claims[-1])]


def test_an_entry_moves_to_the_top_when_its_state_changes(process: Process) -> None:
    first, second = attempted(process.new("20").claim, 0, 5)
    process.history.write(first)
    written(process, "21", created=NOON + MINUTE)
    assert versions(process) == ["21", "20"]

    process.history.write(second)

    assert versions(process) == ["20", "21"]
    assert (entries(process)[0].time, entries(process)[0].received) == (NOON + 5 * MINUTE, NOON)


def test_the_entry_of_an_attempt_whose_worker_died_is_not_needed(process: Process) -> None:
    claims = attempted(process.new().claim, 1, 2, 3, 4)
    process.history.write(claims[0])

    process.history.write(claims[3])

    assert entries(process) == [HistoryEntry.of(claims[3])]


@pytest.mark.parametrize("state", [State.WAITING, State.STARTED])
def test_an_entry_is_not_written_again_late(process: Process, state: State) -> None:
    claims = attempted(process.new().claim, 1, 2, 3)
    last = replace(claims[2], state=state)

    for claim in (claims[0], claims[1], last, claims[0], claims[1]):
        process.history.write(claim)

    assert entries(process) == [HistoryEntry.of(last)]


def test_blank_rows_are_deleted_when_no_function_can_write_them_any_more(process: Process) -> None:
    *_, claim = attempted(process.new().claim, 0, 1, 30)
    process.later(30 * MINUTE)

    process.history.write(claim)

    last, before = (process.rows("history")[row] for row in sorted(process.rows("history")))
    assert (last["state"], values(before)) == ("waiting", {"state": ""})
    assert before["RowKey"].startswith(f"{10**16 - 1 - int((NOON + MINUTE).timestamp() * 1_000_000)} ")


def test_what_has_changed_is_read_from_a_time_on_and_when_it_is_written_late(process: Process) -> None:
    early, late, new = (attempted(process.new(version).claim, 0)[0] for version in ("1", "2", "3"))
    process.history.write(early)
    process.later(HOUR)
    process.history.write(late)
    new = replace(new, attempts=(new.attempts[0]._replace(time=process.clock()),))
    process.history.write(new)

    rows = process.history.late()
    assert list(process.rows("history_late")) == rows
    changed = list(process.history.changed(NOON + MINUTE, rows))
    assert changed == [(one.key, HistoryEntry.of(one)) for one in (new, late)]
    process.history.forget_late(rows)
    assert process.history.late() == []
    assert list(process.history.changed(NOON + MINUTE)) == [(new.key, HistoryEntry.of(new))]


@pytest.mark.parametrize(("after", "late"), [(MINUTE, 0), (MINUTE + SECOND, 1)])
def test_an_entry_is_late_if_it_is_written_more_than_a_minute_after_its_attempt(
    process: Process, after: timedelta, late: int
) -> None:
    (claim,) = attempted(process.new().claim, 0)
    process.later(after)

    process.history.write(claim)

    assert len(process.history.late()) == late


def test_a_blank_row_takes_the_place_of_an_entry_that_may_be_written_later(process: Process) -> None:
    claims = attempted(process.new().claim, 1, 2)

    process.history.write(claims[1])

    before, after = sorted(process.rows("history").values(), key=itemgetter("RowKey"), reverse=True)
    assert values(before) == {"state": ""}
    assert after["state"] == "waiting"
    assert versions(process) == versions(process, open_only=True) == ["20"]


def test_an_entry_is_not_written_if_storage_fails(process: Process) -> None:
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.history.write(process.new().claim)


def test_a_page_ends_at_its_limit_and_names_where_the_next_one_begins(process: Process) -> None:
    for version in ("1", "2", "3", "4", "5"):
        written(process, version)

    first = process.history.page(HistoryQuery(limit=2))
    second = process.history.page(HistoryQuery(limit=2, continuation=first.continuation))
    third = process.history.page(HistoryQuery(limit=2, continuation=second.continuation))

    pages = [[entry.subject[-1] for entry in page.entries] for page in (first, second, third)]
    assert pages == [["5", "4"], ["3", "2"], ["1"]]
    assert first.continuation == sorted(process.rows("history"))[2]
    assert third.continuation == ""
    assert process.history.page(HistoryQuery(limit=5)).continuation == ""


def test_an_empty_history_has_one_empty_page(process: Process) -> None:
    assert process.history.page(HistoryQuery()) == HistoryPage((), "")


def test_a_page_reads_one_entry_more_than_its_limit(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2", "3", "4"):
        written(process, version)
    sizes, read, query = [], [], process.table.query

    def counted(condition: str, **options: Any) -> Any:
        sizes.append(options["results_per_page"])
        for row in query(condition, **options):
            read.append(row)
            yield row

    monkeypatch.setattr(process.table, "query", counted)
    process.history.page(HistoryQuery(limit=2))

    assert (sizes, len(read)) == ([3], 3)


def test_a_query_has_a_condition_for_each_of_its_values(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(process.table, "query", lambda text, **options: asked.append((text, options)) or [])
    since, until = (f"{10**16 - 1 - int(time.timestamp() * 1_000_000):016d}" for time in (NOON, NOON + DAY))

    process.history.page(HistoryQuery(state=State.STARTED, since=NOON, until=NOON + DAY, continuation="a-row", limit=7))
    process.history.page(HistoryQuery("churn"))

    assert asked == [
        (
            (
                "PartitionKey eq @partition and RowKey ge @continuation and RowKey ge @until and RowKey le @since"
                " and state eq @state"
            ),
            {
                "partition": "history",
                "results_per_page": 8,
                "continuation": "a-row",
                "until": until,
                "since": f"{since}~",
                "state": "started",
            },
        ),
        (
            "PartitionKey eq @partition and state ne @hidden0",
            {"partition": "history", "results_per_page": MOST_READ // 2, "hidden0": ""},
        ),
    ]


def test_only_open_entries_are_shown_if_they_are_wanted(process: Process) -> None:
    for version, state in enumerate(State):
        written(process, str(version), state=state)
    ignored(process)

    shown = process.history.page(HistoryQuery(open_only=True, ignored=True)).entries

    assert [entry.state for entry in shown] == [state for state in reversed(State) if not state.final]


def test_a_page_of_few_matches_ends_early(process: Process) -> None:
    for number in range(MOST_READ):
        process.table.insert(
            "history", f"{number:016d} a", **vars(HistoryEntry(NOON, State.STARTED, "", ReasonKind.NONE, "", ""))
        )
    process.table.insert(
        "history",
        f"{MOST_READ:016d} a",
        **vars(HistoryEntry(NOON, State.STARTED, "", ReasonKind.NONE, "", "models/churn:1")),
    )

    first = process.history.page(HistoryQuery("churn"))
    second = process.history.page(HistoryQuery("churn", continuation=first.continuation))

    assert (first.entries, first.continuation) == ((), f"{MOST_READ:016d} a")
    assert [entry.subject for entry in second.entries] == ["models/churn:1"]


def test_ignored_events_are_shown_if_they_are_wanted(process: Process) -> None:
    written(process, "1", state=State.STARTED)
    ignored(process, "2")
    written(process, "3", state=State.REFUSED)

    assert versions(process) == ["3", "1"]
    assert versions(process, ignored=True) == ["3", "2", "1"]
    assert versions(process, state=State.IGNORED) == ["2"]
    assert versions(process, state=State.STARTED) == ["1"]
    assert versions(process, state=State.STARTED, ignored=True) == ["1"]
    assert versions(process, ignored=True, limit=1) == ["3"]


def test_a_state_reads_one_partition(process: Process) -> None:
    versions(process, state=State.STARTED, ignored=True)
    versions(process, state=State.IGNORED)

    assert process.client.operations.count("query_entities") == 2


def test_both_ends_of_a_time_are_included(process: Process) -> None:
    for version in ("1", "2", "3"):
        written(process, version)
    second = NOON + SECOND

    assert versions(process, since=second) == ["3", "2"]
    assert versions(process, until=second) == ["2", "1"]
    assert versions(process, since=second, until=second) == ["2"]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("churn", ["3", "2", "1"]),
        ("HUR", ["3", "2", "1"]),
        ("churn-b", ["2"]),
        ("churn*", ["3", "2", "1"]),
        ("*hurn", ["1"]),
        ("*", ["4", "3", "2", "1"]),
    ],
)
def test_the_model_is_a_part_of_the_name_or_a_pattern(process: Process, model: str, found: list[str]) -> None:
    for version, name in enumerate(("churn", "churn-b", "ChurnX", "fraud"), 1):
        ignored(process, str(version), subject=f"models/{name}:{version}")

    assert versions(process, model=model, state=State.IGNORED) == found


def test_target_and_workspace_are_parts_of_the_names(process: Process) -> None:
    for version, (target, workspace) in enumerate((("fraud/Deploy", "/w/prod-eu"), ("risk/Deploy", "/w/Prod")), 1):
        ignored(process, str(version), target=target, workspace=workspace)

    assert versions(process, target="FRAUD", state=State.IGNORED) == ["1"]
    assert versions(process, target="deploy", workspace="prod", state=State.IGNORED) == ["2", "1"]
    assert versions(process, workspace="/w", state=State.IGNORED) == []


def test_entries_are_deleted_after_90_days(process: Process) -> None:
    written(process, "1")
    ignored(process, "2")
    process.time.now = NOON + 90 * DAY - SECOND / 1000
    process.history.prune()
    assert versions(process, ignored=True) == ["2", "1"]

    process.later(SECOND / 1000)
    process.history.prune()
    assert versions(process, ignored=True) == ["2"]
    process.later(2 * SECOND)
    process.history.prune()

    assert versions(process, ignored=True) == []


def test_at_most_100_entries_of_each_partition_are_deleted_at_once(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(103):
        ignored(process, str(number))
        ignored(process, str(number), state=State.STARTED)
    process.later(100 * DAY)
    asked, query = [], process.table.query

    def recorded(condition: str, **options: Any) -> Any:
        asked.append((options["select"], options["results_per_page"]))
        return query(condition, **options)

    monkeypatch.setattr(process.table, "query", recorded)
    process.history.prune()

    assert [len(process.rows(partition)) for partition in ("history", "ignored")] == [3, 3]
    assert asked == [(["PartitionKey", "RowKey"], 100)] * 2


def test_a_repeated_transaction_whose_rows_are_gone_has_succeeded(process: Process) -> None:
    ignored(process)
    ignored(process, state=State.STARTED)
    process.later(100 * DAY)
    process.fail("before submit_transaction", ResourceNotFoundError("gone"))

    process.history.prune()

    assert not process.rows("ignored")


def test_nothing_is_deleted_while_nothing_is_old(process: Process) -> None:
    ignored(process)
    process.later(MINUTE)

    process.history.prune()

    assert "submit_transaction" not in process.client.operations

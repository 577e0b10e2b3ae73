"""Setting a high-water mark back: newer pending versions are withdrawn, and nothing is started."""

from dataclasses import replace

import pytest

from model_release.domain.claims import Claim, State, target_digest
from model_release.domain.history import ByHand, HistoryEntry, HistoryQuery
from model_release.errors import ClaimLeasedError, RefusedError, TemporaryError
from model_release.flow.steer import set_mark_back
from model_release.reason import ReasonKind
from model_release.store.high_water_mark import HighWaterMarks
from tests.in_memory import CREATED, NOON, OTHER_TARGET, PARTITION, SECOND, TARGET, Process, a_plan


@pytest.fixture
def process() -> Process:
    return Process()


def recorded(process: Process, version: str, state: State, **options: str) -> Claim:
    claim = process.inserted(version, **options)
    return process.claims.update(claim, replace(claim, state=state))


def mark(process: Process) -> str:
    return str(process.rows(PARTITION)[target_digest(TARGET)]["version"])


def set_back(process: Process, claim: Claim) -> list[HistoryEntry]:
    return set_mark_back(claim, ByHand("Ada", comment="a mistake"), process.start_release)


@pytest.fixture
def claim(process: Process) -> Claim:
    """A claim on version 20, after which 99999 raised the mark and was refused."""
    claim = recorded(process, "20", State.STARTED)
    process.marks.advance(process.inserted("99999"))
    newest = process.claims.get(PARTITION, f"99999 {target_digest(TARGET)}")
    process.claims.update(newest, replace(newest, state=State.REFUSED))
    return claim


def test_the_mark_is_set_back_and_the_newer_version_is_withdrawn(process: Process, claim: Claim) -> None:
    process.later(SECOND)

    entry, withdrawn = set_back(process, claim)

    assert mark(process) == "20"
    reason, kind = "high-water mark set back from version 99999 by Ada: a mistake", ReasonKind.MARK_SET_BACK
    noted = replace(HistoryEntry.of(claim), time=NOON + SECOND, attempt=0, reason=reason, reason_kind=kind)
    assert entry == replace(noted, by="Ada", comment="a mistake")
    newest = process.claims.get(PARTITION, f"99999 {target_digest(TARGET)}")
    assert withdrawn == HistoryEntry.of(newest)
    assert (newest.state, newest.reason) == (
        State.WITHDRAWN,
        "high-water mark set back to version 20 by Ada: a mistake",
    )
    assert set(process.history.page(HistoryQuery()).entries) == {entry, withdrawn}
    assert process.marks.advance(process.inserted("21")) is None


def test_only_newer_pending_versions_of_the_target_are_withdrawn(process: Process, claim: Claim) -> None:
    kept = [
        recorded(process, "19", State.WAITING),
        recorded(process, "22", State.STARTED),
        recorded(process, "23", State.WAITING, key="a-key"),
        recorded(process, "24-a", State.WAITING),
        recorded(process, "25", State.WAITING, plan=a_plan(OTHER_TARGET)),
        recorded(process, "20", State.WAITING, key="b-key"),
        recorded(process, "20", State.WAITING, plan=a_plan(TARGET._replace(kind="pipeline"))),
    ]
    recorded(process, "21", State.WAITING)

    entries = set_back(process, claim)

    assert sorted(entry.subject for entry in entries[1:]) == ["models/churn:21", "models/churn:99999"]
    assert [process.claims.get(one.partition, one.row) for one in kept] == kept


def test_the_same_version_is_not_withdrawn(process: Process) -> None:
    claim = recorded(process, "20", State.WAITING)
    process.marks.advance(recorded(process, "21", State.STARTED))

    assert len(set_back(process, claim)) == 1
    assert process.claims.get(claim.partition, claim.row) == claim


@pytest.mark.parametrize("state", [State.STARTING, State.UNKNOWN])
def test_the_mark_is_not_set_back_while_a_newer_version_may_have_been_created(
    process: Process, claim: Claim, state: State
) -> None:
    recorded(process, "21", state)
    recorded(process, "22", state)
    before = dict(process.client.rows)

    with pytest.raises(RefusedError) as raised:
        set_back(process, claim)

    assert raised.value.problem == "version 21, 22 may have been created"
    assert raised.value.fix == "try again when its state is known"
    assert process.client.rows == before


@pytest.mark.parametrize("version", ["20", "20-a"])
def test_a_mark_that_is_not_above_the_version_is_not_set_back(process: Process, version: str) -> None:
    claim = recorded(process, version, State.STARTED)

    with pytest.raises(RefusedError) as raised:
        set_back(process, claim)

    assert str(raised.value) == f"the high-water mark of p/train is not above version {version}"


def test_a_version_without_an_order_asks_for_no_mark(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = recorded(process, "20-a", State.STARTED)
    monkeypatch.setattr(HighWaterMarks, "newer_sent", lambda *_: pytest.fail("it asked"))

    with pytest.raises(RefusedError):
        set_back(process, claim)


def test_it_is_recorded_who_set_the_mark_back_before_anything_changes(process: Process, claim: Claim) -> None:
    other = Process(shares=process)
    newest = process.claims.get(PARTITION, f"99999 {target_digest(TARGET)}")
    acquire = process.claims.acquire

    def meanwhile(one: Claim) -> object:
        other.claims.acquire(newest)
        return acquire(one)

    process.claims.acquire = meanwhile

    with pytest.raises(ClaimLeasedError):
        set_back(process, claim)

    assert mark(process) == "99999"
    assert len(process.history.page(HistoryQuery()).entries) == 1


def sent(process: Process, claim: Claim) -> Claim:
    """Version 99999 with the ID of its definition, as if its request had been refused."""
    newest = process.claims.get(PARTITION, f"99999 {target_digest(TARGET)}")
    return process.claims.update(newest, replace(newest, definition_id=7))


def test_a_refused_version_whose_release_is_found_is_started(process: Process, claim: Claim) -> None:
    sent(process, claim)
    process.azure_devops.finding = [CREATED]

    _, entry = set_back(process, claim)

    assert (entry.state, entry.release_id) == (State.STARTED, CREATED.id)
    assert mark(process) == "20"


def test_the_mark_stays_while_the_releases_of_refused_versions_cannot_be_searched_for(
    process: Process, claim: Claim
) -> None:
    sent(process, claim)
    recorded(process, "21", State.REFUSED)
    process.azure_devops.finding = [TemporaryError("503")] * 2

    with pytest.raises(RefusedError, match=r"^version 21, 99999 may have been created; try again"):
        set_back(process, claim)

    assert mark(process) == "99999"
    assert process.claims.get(PARTITION, f"99999 {target_digest(TARGET)}").state is State.REFUSED

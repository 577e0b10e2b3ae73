"""Targets: a target stays the same one however the release map names it."""

import pytest
from azure.core.exceptions import ServiceRequestError

from model_release.domain.claims import digest, target_digest
from model_release.domain.targets import TargetId
from model_release.errors import RefusedError
from model_release.store.targets import Resolved
from tests.in_memory import OTHER_TARGET, TARGET, Process, values

DIGEST = target_digest(TARGET)
ID = TargetId("release", "p-id", 7)
BY_ID = TARGET._replace(definition=7)


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_name_that_was_never_resolved_is_stored_under_itself(process: Process) -> None:
    assert process.targets.last_resolved(TARGET) == Resolved(DIGEST, 0) == Resolved(DIGEST)


def test_another_name_of_an_id_is_stored_under_the_first_one(process: Process) -> None:
    first = process.targets.resolve(TARGET, ID)

    assert first == Resolved(DIGEST, 7)
    assert process.targets.resolve(BY_ID, ID) == first
    assert process.targets.last_resolved(TARGET) == process.targets.last_resolved(BY_ID) == first


def test_another_process_resolves_the_names_alike(process: Process) -> None:
    process.targets.resolve(TARGET, ID)
    other = Process(shares=process)

    assert other.targets.last_resolved(TARGET) == Resolved(DIGEST, 7)
    assert other.targets.resolve(BY_ID, ID) == Resolved(DIGEST, 7)
    assert Process(shares=process).targets.last_resolved(BY_ID) == Resolved(DIGEST, 7)


def test_another_id_is_another_target(process: Process) -> None:
    process.targets.resolve(TARGET, ID)

    for other in (ID._replace(definition=8), ID._replace(kind="pipeline"), ID._replace(project="q-id")):
        resolved = process.targets.resolve(OTHER_TARGET._replace(project=other.key), other)
        assert resolved.target_digest != DIGEST
        assert resolved.definition_id == other.definition


def test_a_name_that_comes_to_mean_another_definition_is_refused_until_it_is_confirmed(process: Process) -> None:
    process.targets.resolve(TARGET, ID)
    new, other = ID._replace(definition=8), Process(shares=process)

    for one in (process, other, Process(shares=process)):
        with pytest.raises(RefusedError) as refused:
            one.targets.resolve(TARGET, new)
        assert str(refused.value) == (
            "the name p/train means ID 8 now, and meant ID 7 at the last start; if this is intended, start the version"
            " manually to confirm it; otherwise write the ID in the release map"
        )
        assert one.targets.last_resolved(TARGET) == one.targets.resolve(TARGET, ID) == Resolved(DIGEST, 7)

    assert process.targets.resolve(TARGET, new, confirmed=True) == Resolved(digest(new.key), 8)
    for one in (process, other, Process(shares=process)):
        assert one.targets.resolve(TARGET, new) == one.targets.last_resolved(TARGET) == Resolved(digest(new.key), 8)
        with pytest.raises(RefusedError, match=r"means ID 7 now, and meant ID 8"):
            one.targets.resolve(TARGET, ID)
        assert one.targets.resolve(BY_ID, ID) == Resolved(DIGEST, 7)


def test_a_name_of_a_replaced_project_is_refused_until_it_is_confirmed(process: Process) -> None:
    process.targets.resolve(BY_ID, ID)
    new = ID._replace(project="new-id")

    with pytest.raises(RefusedError, match=r"means ID 7 of project new-id now, and meant ID 7 of another project at"):
        process.targets.resolve(BY_ID, new)
    assert process.targets.resolve(BY_ID, new, confirmed=True) == Resolved(digest(new.key), 7)


def test_a_target_that_is_resolved_costs_nothing_more(process: Process) -> None:
    process.targets.resolve(TARGET, ID)
    process.client.operations.clear()

    process.targets.resolve(TARGET, ID)
    process.targets.last_resolved(TARGET)

    assert process.client.operations == []


def test_another_process_reads_a_target_that_is_resolved_and_writes_nothing(process: Process) -> None:
    process.targets.resolve(TARGET, ID)
    other = Process(shares=process)
    other.table.find("p", "the table exists")
    process.client.operations.clear()

    other.targets.resolve(TARGET, ID)

    assert process.client.operations == ["get_entity", "get_entity"]


def test_the_rows_of_a_target_are_readable(process: Process) -> None:
    process.targets.resolve(TARGET, ID)

    assert {key: values(row) for key, row in process.rows("target").items()} == {
        f"name {DIGEST}": {"target": DIGEST, "definition_id": 7, "name": "p/train"},
        f"id {digest(ID.key)}": {"target": DIGEST},
        f"taken {DIGEST}": {"target": digest(ID.key)},
    }


@pytest.mark.parametrize("nth", [1, 2])
def test_two_processes_that_resolve_an_id_at_once_agree(process: Process, nth: int) -> None:
    other = Process(shares=process)

    def hook(at: str) -> None:
        if at == "before create_entity":
            hook.left -= 1
            if not hook.left:
                process.client.before_and_after = None
                hook.resolved = other.targets.resolve(BY_ID, ID)

    hook.left = nth
    process.client.before_and_after = hook

    assert process.targets.resolve(TARGET, ID) == hook.resolved


def test_an_error_of_storage_is_raised(process: Process) -> None:
    process.fail("before create_entity", ServiceRequestError("storage fails"))

    with pytest.raises(ServiceRequestError):
        process.targets.resolve(TARGET, ID)


def test_a_name_that_another_process_resolves_to_another_id_at_this_moment_is_refused(process: Process) -> None:
    assert process.targets.last_resolved(TARGET) == Resolved(DIGEST)
    process.once("before create_entity", lambda: Process(shares=process).targets.resolve(TARGET, ID))

    with pytest.raises(RefusedError, match=r"means ID 8 now, and meant ID 7"):
        process.targets.resolve(TARGET, ID._replace(definition=8))

"""A target is what Azure DevOps resolves it to, however the release map names it, and whatever becomes of its name."""

import json
from pathlib import Path

import pytest

from local.azure_devops_faults import Fault
from model_release.domain.claims import State
from model_release.errors import ClaimLeasedError
from tests.environment import (
    IN_AZURITE,
    IN_MEMORY,
    USUALLY_A_PIPELINE,
    USUALLY_A_RELEASE,
    Environment,
    event,
    in_turn,
)
from tests.flow.interruptions import Killed, at_azure_devops, claims_of, kill, land, lose_the_request

pytestmark = IN_MEMORY

NAME = "Deploy sklearn model"
IDS = {"release": 1, "pipeline": 2}
OTHER_NAMES = in_turn("by", {by: (by,) for by in ("its ID", "its folder")})


def deploy_map(env: Environment, folder: Path, definition: int | str) -> None:
    """Restart the app with a map whose only route leads to this definition or pipeline."""
    target = {"project": "fraud", {"release": "definition", "pipeline": "pipeline"}[env.target]: definition}
    routes = [{"model": "sklearn_*", env.target: target}]
    (folder / "map.yaml").write_text(json.dumps({"version": 1, "routes": routes}))
    env.restart(RELEASE_MAP=str(folder / "map.yaml"))


@pytest.fixture(autouse=True)
def by_name(env: Environment, tmp_path: Path) -> None:
    """Begin with a map that names the target without its folder."""
    deploy_map(env, tmp_path, NAME)


def name_otherwise(env: Environment, folder: Path, by: str) -> None:
    """Restart the app with a map that names the target by its ID, or with its folder."""
    deploy_map(env, folder, IDS[env.target] if by == "its ID" else f"\\{NAME}")


def rename(env: Environment, name: str) -> None:
    """Rename the definition or pipeline."""
    if env.target == "release":
        env.azure_devops._definitions[1]["name"] = name
    else:
        env.azure_devops.pipelines.change(2, name=name)


def copy(env: Environment) -> None:
    """Rename the definition or pipeline, and add a copy under its name."""
    rename(env, "Old")
    if env.target == "release":
        env.azure_devops.add_definition("fraud", NAME, variables={"ModelVersion": ""})
    else:
        env.azure_devops.add_pipeline(
            "fraud", NAME, parameters={"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
        )


def confirm(env: Environment, version: int = 20) -> None:
    """Start the pending claim of a version manually."""
    (claim,) = [claim for claim in claims_of(env, version) if not claim.state.final]
    env.app.start_release.try_now(claim, by_hand=True)


def states(env: Environment, version: int = 20) -> list[State]:
    """Return the states of all claims of a version."""
    return [claim.state for claim in claims_of(env, version)]


@OTHER_NAMES
def test_a_waiting_claim_starts_at_its_target_under_another_name(env: Environment, tmp_path: Path, by: str) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event(version=20))
    name_otherwise(env, tmp_path, by)

    assert [entry.state for entry in env.later(minutes=1)] == [State.STARTED]

    assert states(env) == [State.STARTED]


@OTHER_NAMES
def test_a_waiting_claim_does_not_go_backwards_under_another_name(env: Environment, tmp_path: Path, by: str) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=429, times=1))
    env.registered(event(version=20))
    name_otherwise(env, tmp_path, by)
    env.registered(event(version=21))

    (entry,) = env.later(minutes=1)

    assert (entry.state, entry.reason) == (State.SUPERSEDED, "version 21 was sent first")
    assert env.versions == ["21"]


@OTHER_NAMES
def test_a_redelivered_event_starts_nothing_under_another_name(env: Environment, tmp_path: Path, by: str) -> None:
    env.registered(event())
    name_otherwise(env, tmp_path, by)

    assert [entry.reason[:16] for entry in env.registered(event())][:1] == ["already recorded"]

    assert env.versions == ["20"]


@OTHER_NAMES
def test_an_older_version_is_superseded_under_another_name(env: Environment, tmp_path: Path, by: str) -> None:
    env.registered(event(version=21))
    name_otherwise(env, tmp_path, by)

    (late, *_) = env.registered(event(version=20))

    assert (late.state, late.reason) == (State.SUPERSEDED, "version 21 was sent first")
    assert env.versions == ["21"]


@OTHER_NAMES
@pytest.mark.parametrize("minutes", [1, 4])
def test_a_release_of_a_killed_process_is_found_under_another_name(
    env: Environment, tmp_path: Path, by: str, minutes: int
) -> None:
    with pytest.raises(Killed):
        at_azure_devops(env.app, "after", "create", kill).start_release.registered(event())
    name_otherwise(env, tmp_path, by)
    env.clock.advance(minutes=minutes)
    if minutes < 3:
        with pytest.raises(ClaimLeasedError):
            env.registered(event())
        env.clock.advance(minutes=3)

    env.registered(event())

    assert env.versions == ["20"]
    assert states(env)[0] is State.STARTED


@IN_AZURITE
@USUALLY_A_RELEASE
def test_a_lost_release_of_a_renamed_definition_is_found_by_its_id(env: Environment, tmp_path: Path) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    rename(env, "Renamed")
    deploy_map(env, tmp_path, "Renamed")

    (entry,) = env.later(minutes=1)

    assert (entry.state, entry.reason) == (
        State.STARTED,
        f"{env.started[0]['name']} was found; an earlier attempt created it",
    )
    assert env.versions == ["20"]


@USUALLY_A_PIPELINE
@pytest.mark.parametrize("deployed", [False, True])
def test_a_lost_request_is_sent_again_although_the_definition_was_renamed(
    env: Environment, tmp_path: Path, *, deployed: bool
) -> None:
    lose_the_request(env)
    env.registered(event())
    rename(env, "Renamed")
    assert [entry.state for entry in env.later(minutes=5)] == [State.UNKNOWN]
    if not deployed:
        assert [entry.state for entry in env.later(minutes=1)] == [State.REFUSED]
    deploy_map(env, tmp_path, "Renamed")

    env.later(hours=1)

    assert states(env) == [State.STARTED]
    assert env.versions == ["20"]


@USUALLY_A_RELEASE
def test_an_unknown_claim_of_a_removed_route_starts_at_the_new_target_once_nothing_is_in_flight(
    env: Environment, tmp_path: Path
) -> None:
    lose_the_request(env)
    env.registered(event())
    copy(env)
    deploy_map(env, tmp_path, NAME)
    rename(env, "Renamed")

    assert [entry.state for entry in env.later(minutes=5)] == [State.UNKNOWN]
    assert [entry.state for entry in env.later(minutes=1)] == [State.REFUSED]
    confirm(env)

    assert env.versions == ["20"]
    assert states(env) == [State.WITHDRAWN, State.STARTED]


@USUALLY_A_PIPELINE
@pytest.mark.parametrize("lands", [True, False])
def test_an_unknown_claim_of_a_definition_that_was_replaced_by_a_copy_starts_once(
    env: Environment, tmp_path: Path, *, lands: bool
) -> None:
    lose_the_request(env)
    env.registered(event())
    copy(env)
    deploy_map(env, tmp_path, NAME)
    if lands:
        land(env)

    for _ in range(4):
        env.later(minutes=5)
    if not lands:
        assert env.versions == []
        confirm(env)

    assert env.versions == ["20"]
    assert states(env) == ([State.STARTED] if lands else [State.WITHDRAWN, State.STARTED])


@USUALLY_A_RELEASE
def test_a_name_that_was_given_to_another_definition_is_refused_until_a_person_starts_a_version(
    env: Environment,
) -> None:
    env.registered(event(version=19))
    copy(env)
    env.clock.advance(minutes=6)
    env.app.start_release.registered(event(version=20))
    env.later(hours=1)
    own, new = IDS[env.target], max(env.azure_devops._definitions) if env.target == "release" else 43

    entry = env.history[0]
    assert (entry.state, entry.definition_id) == (State.REFUSED, own)
    kind = "(pipeline) " if env.target == "pipeline" else ""
    assert entry.reason == (
        f"the name fraud/{NAME} {kind}means ID {new} now, and meant ID {own} at the last start; if this is intended, "
        "start the version manually to confirm it; otherwise write the ID in the release map"
    )
    assert env.versions == ["19"]

    confirm(env)
    env.registered(event(version=21))

    assert env.versions == ["19", "20", "21"]
    started = {entry.subject: entry.definition_id for entry in env.history if entry.state is State.STARTED}
    assert list(started.values()) == [new, new, own]


@IN_AZURITE
@USUALLY_A_PIPELINE
def test_a_restart_confirms_a_name_that_was_given_to_another_definition(env: Environment) -> None:
    env.registered(event(version=19))
    copy(env)
    env.clock.advance(minutes=6)

    entries = env.app.start_release.restart(claims_of(env, 19)[0], "a-key-of-a-person")

    assert [entry.state for entry in entries] == [State.STARTED, State.WITHDRAWN]
    assert env.versions == ["19", "19"]


@USUALLY_A_RELEASE
def test_an_id_in_the_map_is_not_taken_over(env: Environment, tmp_path: Path) -> None:
    deploy_map(env, tmp_path, IDS[env.target])
    env.registered(event(version=19))
    copy(env)
    env.clock.advance(minutes=6)

    env.registered(event(version=20))

    assert env.versions == ["19", "20"]

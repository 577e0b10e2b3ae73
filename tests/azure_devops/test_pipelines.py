"""Runs of pipelines: found, started with what the route says, refused with the reason, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.azure_devops_faults import Fault
from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import State
from model_release.domain.events import parse
from model_release.domain.release_map import StartedRelease
from model_release.errors import Refused
from tests.azure_devops.test_client import MARKER, a_run, begin, client
from tests.environment import World, assert_refused_until_mended, event

DECLARED = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
PASSED = {"modelName": "sklearn_regression_model", "modelVersion": "20"}


@pytest.fixture
def world(accounts: Any) -> Any:
    with World(accounts.take(), "pipeline") as world:
        yield world


def look(world: World, azure_devops: AzureDevOps | None = None) -> StartedRelease | None:
    since = world.clock() - timedelta(minutes=5)
    return (azure_devops or client(world)).look(a_run().target, MARKER, since)


@pytest.mark.parametrize("pipeline", [2, "Deploy sklearn model", "DEPLOY SKLEARN MODEL", "\\Deploy sklearn model"])
def test_a_pipeline_is_found_by_id_by_name_and_by_folder(world: World, pipeline: int | str) -> None:
    world.azure_devops.add_pipeline("fraud", "Deploy sklearn model 2", parameters=DECLARED)

    started = begin(world, a_run(pipeline))

    (run,) = world.azure_devops.runs
    assert run["pipeline"]["name"] == "Deploy sklearn model"
    assert started == StartedRelease(run["id"], run["name"], run["_links"]["web"]["href"])


def test_equal_names_are_told_apart_by_their_folder(world: World) -> None:
    for folder in ("\\a", "\\a\\b"):
        world.azure_devops.add_pipeline("fraud", "Twice", folder=folder, parameters=DECLARED)

    with pytest.raises(Refused, match=r"2 pipelines of that name, so write the folder too: \\a\\Twice, \\a\\b\\Twice"):
        begin(world, a_run("Twice"))
    begin(world, a_run("\\a\\b\\Twice"))

    assert world.azure_devops.runs[0]["pipeline"]["folder"] == "\\a\\b"


def test_a_run_gets_what_the_route_hands_over_and_the_marker(world: World) -> None:
    world.azure_devops.pipelines.change(2, branches=["refs/heads/main", "refs/heads/next"], stages=["Test", "Deploy"])

    begin(world, a_run(branch="refs/heads/next", stages_to_skip=("Test",)))

    assert json.loads(world.azure_devops.requests[-1].body) == {
        "templateParameters": {**PASSED, "modelReleaseMarker": MARKER},
        "resources": {"repositories": {"self": {"refName": "refs/heads/next"}}},
        "stagesToSkip": ["Test"],
    }


def test_a_registered_model_runs_its_pipeline_with_exactly_that_version_and_its_tags(world: World) -> None:
    (decision,) = world.app.registered(event(model="fraud_model", version=3, ModelTags={"stage": "production"}))

    (run,) = world.azure_devops.runs
    assert (decision.state, decision.release_url) == (State.STARTED, run["_links"]["web"]["href"])
    assert decision.target == "risk/42 (pipeline)"
    passed = run["templateParameters"]
    assert passed.pop("modelReleaseMarker").startswith("[model-release ")
    assert passed == {"modelName": "fraud_model", "modelVersion": "3", "stage": "production"}


def test_a_run_costs_one_request_once_the_pipeline_is_known(world: World) -> None:
    world.app.registered(event(version=20))
    world.clock.advance(minutes=4)
    asked = len(world.azure_devops.requests)

    world.app.registered(event(version=21))

    assert [request.method for request in world.azure_devops.requests[asked:]] == ["POST"]


def test_what_request_tells_is_what_is_sent(world: World) -> None:
    azure_devops = client(world)
    told = azure_devops.request(a_run(), parse(event()), MARKER)

    azure_devops.start(a_run(), parse(event()), MARKER)

    sent = world.azure_devops.requests[-1]
    assert (f"{world.azure_devops_url}{sent.path}", sent.body) == (told.url, told.body)


def test_a_rehearsal_tells_what_a_start_would_and_names_stages_that_are_not_there(world: World) -> None:
    world.azure_devops.pipelines.change(2, stages=["Test", "Production"])
    azure_devops, registered = client(world), parse(event())

    azure_devops.rehearse(a_run(stages_to_skip=("test",)), registered, MARKER)
    with pytest.raises(Refused, match=r"pipeline Deploy sklearn model has no stage Prodution; pip.* has no stage Tset"):
        azure_devops.rehearse(a_run(stages_to_skip=("Prodution", "Tset")), registered, MARKER)
    with pytest.raises(Refused, match="Unexpected parameter 'x'"):
        azure_devops.rehearse(a_run(parameters=PASSED | {"x": "1"}), registered, MARKER)

    assert world.azure_devops.runs == []


def test_no_run_starts_with_a_stage_that_was_to_be_skipped_under_another_name(world: World) -> None:
    world.azure_devops.pipelines.change(2, stages=["Test", "Production"])

    with pytest.raises(Refused, match="pipeline Deploy sklearn model has no stage Prodution"):
        begin(world, a_run(stages_to_skip=("Prodution",)))

    assert world.azure_devops.runs == []


def mend_permissions(world: World) -> None:
    world.azure_devops.permissions |= {"Queue builds", "View builds", "View build pipeline"}


def change(**changes: Any) -> Callable[[World], Any]:
    return lambda world: world.azure_devops.pipelines.change(2, **changes)


MEND = change(parameters={name: {"default": default} for name, default in DECLARED.items()})
REFUSALS = {
    "unknown pipeline": (
        lambda world: setattr(world, "gone", world.azure_devops.pipelines._pipelines.pop(2)),
        lambda world: world.azure_devops.pipelines._pipelines.update({2: world.gone}),
        "has no pipeline Deploy sklearn model",
    ),
    "disabled pipeline": (change(disabled=True), change(disabled=False), "disabled"),
    "missing permission": (
        lambda world: world.azure_devops.permissions.discard("Queue builds"),
        mend_permissions,
        "needs Queue builds permissions",
    ),
    "nothing may be viewed": (
        lambda world: world.azure_devops.permissions.clear(),
        mend_permissions,
        "or this identity may not view it",
    ),
    "undeclared parameters": (change(parameters={}), MEND, "Unexpected parameter 'modelName'; Unexpected parameter 'm"),
    "undeclared marker": (
        change(parameters={"modelName": {"default": None}, "modelVersion": {"default": None}}),
        MEND,
        "Unexpected parameter 'modelReleaseMarker'; declare it in the pipeline's YAML, of type string",
    ),
    "a parameter without a value": (
        change(
            parameters={name: {"default": default} for name, default in DECLARED.items()} | {"more": {"default": None}}
        ),
        MEND,
        "A value for the 'more' parameter must be provided.",
    ),
}


@pytest.mark.parametrize("remembered", [False, True], ids=["cold", "remembered"])
@pytest.mark.parametrize(("spoil", "mend", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_tells_the_reason_and_once_mended_the_sweep_starts_it(
    world: World, spoil: Callable[[World], Any], mend: Callable[[World], Any], sentence: str, *, remembered: bool
) -> None:
    assert_refused_until_mended(world, spoil, mend, sentence, remembered=remembered)


def test_details_of_a_refusal_that_are_not_what_they_should_be_do_no_harm(world: World) -> None:
    for details in ([], {"ValidationResults": "x"}, {"ValidationResults": [1, {}]}, {"ValidationResults": [None]}):
        body = {"message": "no", "customProperties": details}
        world.azure_devops.misbehave(Fault(**world.requests.start, status=400, body=body, times=1))

        with pytest.raises(Refused):
            begin(world, a_run())


# Looking


def test_a_marker_is_found_on_any_page_of_the_list(world: World) -> None:
    azure_devops = client(world)
    azure_devops.start(a_run(), parse(event()), MARKER)
    others = [{**world.azure_devops.runs[0], "id": number, "templateParameters": PASSED} for number in range(2, 103)]
    world.azure_devops.runs.extend(others)

    found = look(world, azure_devops)

    assert found
    assert found.id == 1
    assert len([request for request in world.azure_devops.requests if request.path.endswith("/Builds")]) == 2


def test_a_run_of_a_person_with_the_same_parameters_is_told_apart(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="before", times=1))
    world.app.registered(event())
    begin(world, a_run())

    world.later(minutes=5)

    assert world.history[0].release_id == 2
    assert world.versions == ["20", "20"]


def test_a_wish_whose_answer_was_lost_finds_its_own_run_and_not_the_first(world: World) -> None:
    world.app.registered(event())
    registered = parse(event())
    (claim,) = world.app.ledger.known(registered.workspace, registered.model)["20"].claims
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))

    assert world.app.again(claim, "wish").state is State.UNKNOWN
    (decision,) = world.later(minutes=1)

    assert (decision.state, decision.release_id) == (State.STARTED, 2)
    assert world.versions == ["20", "20"]


def test_a_run_of_another_pipeline_or_of_long_ago_is_not_it(world: World) -> None:
    world.azure_devops.add_pipeline("fraud", "Other", parameters=DECLARED)
    begin(world, a_run("Other"))
    begin(world, a_run())
    world.azure_devops.runs[1]["createdDate"] = "2020-01-01T00:00:00Z"

    assert look(world) is None


def test_where_the_list_keeps_the_parameters_to_itself_each_run_is_asked(world: World) -> None:
    begin(world, a_run())
    world.azure_devops.pipelines.builds_tell_parameters = False

    assert look(world)


def test_what_cannot_be_told_is_never_taken_for_not_started(world: World) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, close="after", times=1))
    world.app.registered(event())
    world.azure_devops.pipelines.builds_tell_parameters = False
    world.azure_devops.pipelines.runs_tell_parameters = False

    (decision,) = world.later(minutes=5)

    assert decision.state is State.UNKNOWN
    assert "does not tell with which parameters run 1 of pipeline Deploy sklearn model was started" in decision.reason
    world.azure_devops.pipelines.runs_tell_parameters = True
    world.later(hours=1)
    assert world.history[0].state is State.STARTED
    assert world.versions == ["20"]


def test_a_run_that_could_not_be_planned_is_not_adopted(world: World) -> None:
    begin(world, a_run())
    world.azure_devops.runs[0]["validationResults"] = [{"result": "error", "message": "no such file"}]

    assert look(world) is None

"""Runs: of which pipeline, with which parameters, refused why, and found by which marker."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.azure_devops_faults import Fault
from local.azure_devops_runs import add_approval
from model_release.azure_devops.client import AzureDevOps
from model_release.domain.claims import State
from model_release.domain.events import parse
from model_release.domain.targets import Approval, Created, Stage, Target
from model_release.errors import RefusedError, UnknownOutcomeError
from tests.azure_devops import plans
from tests.azure_devops.plans import MARKER, client, create, run_plan
from tests.environment import Environment, assert_refused_until_fixed, event

DECLARED = {"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
PASSED = {"modelName": "sklearn_regression_model", "modelVersion": "20"}


@pytest.fixture
def env() -> Any:
    with Environment(None, "pipeline") as env:
        yield env


def refusal(env: Environment, plan: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as caught:
        create(env, plan)
    return caught.value.problem, caught.value.fix


def find_by_marker(env: Environment, azure_devops: AzureDevOps | None = None) -> Created | None:
    since = env.clock() - timedelta(minutes=5)
    return plans.find_by_marker(azure_devops or client(env), run_plan(), since)


@pytest.mark.parametrize("pipeline", [2, "Deploy sklearn model", "DEPLOY SKLEARN MODEL", "\\Deploy sklearn model"])
def test_a_pipeline_is_found_by_id_by_name_and_by_folder(env: Environment, pipeline: int | str) -> None:
    env.azure_devops.add_pipeline("fraud", "Deploy sklearn model 2", parameters=DECLARED)

    created = create(env, run_plan(pipeline))

    (run,) = env.azure_devops.runs
    assert run["pipeline"]["name"] == "Deploy sklearn model"
    assert created == Created(run["id"], run["name"], run["_links"]["web"]["href"])


def test_pipelines_with_the_same_name_are_distinguished_by_their_folder(env: Environment) -> None:
    for folder in ("\\a", "\\a\\b"):
        env.azure_devops.add_pipeline("fraud", "Twice", folder=folder, parameters=DECLARED)

    assert refusal(env, run_plan("Twice")) == (
        "project fraud has 2 pipelines named Twice",
        "write the folder too: \\a\\Twice, \\a\\b\\Twice",
    )
    create(env, run_plan("\\a\\b\\Twice"))

    assert env.azure_devops.runs[0]["pipeline"]["folder"] == "\\a\\b"


def test_a_pipeline_that_is_not_found_is_refused_with_a_fix(env: Environment) -> None:
    assert refusal(env, run_plan("None")) == (
        "project fraud has no pipeline None, or this identity cannot view it",
        "correct the route or the pipeline, or grant View build pipeline and Queue builds",
    )


def test_a_run_has_the_parameters_of_the_route_and_the_marker(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, branches=["refs/heads/main", "refs/heads/next"], stages=["Test", "Deploy"])

    create(env, run_plan(branch="refs/heads/next", stages_to_skip=("Test",)))

    assert json.loads(env.azure_devops.requests[-1].body) == {
        "templateParameters": {**PASSED, "modelReleaseMarker": MARKER},
        "resources": {"repositories": {"self": {"refName": "refs/heads/next"}}},
        "stagesToSkip": ["Test"],
    }


def test_a_registered_model_starts_its_pipeline_with_exactly_that_version_and_its_tags(env: Environment) -> None:
    (entry,) = env.registered(event(model="fraud_model", version=3, ModelTags={"stage": "production"}))

    (run,) = env.azure_devops.runs
    assert (entry.state, entry.release_url) == (State.STARTED, run["_links"]["web"]["href"])
    assert entry.target == "risk/42 (pipeline)"
    passed = run["templateParameters"]
    assert passed.pop("modelReleaseMarker").startswith("[model-release ")
    assert passed == {"modelName": "fraud_model", "modelVersion": "3", "stage": "production"}


def test_a_run_costs_one_request_while_the_pipeline_is_remembered(env: Environment) -> None:
    env.registered(event(version=20))
    env.clock.advance(minutes=4)
    before = len(env.azure_devops.requests)

    env.registered(event(version=21))

    assert [request.method for request in env.azure_devops.requests[before:]] == ["POST"]


def test_a_preview_refuses_what_create_would_refuse_and_starts_nothing(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, stages=["Test", "Production"])
    azure_devops, registered = client(env), parse(event())

    azure_devops.preview(run_plan(stages_to_skip=("test",)), registered, MARKER)
    unknown = "'Prodution' is not a valid stage to skip.; 'Tset' is not a valid stage to skip.; correct stages_to_skip"
    with pytest.raises(RefusedError, match=unknown):
        azure_devops.preview(run_plan(stages_to_skip=("Prodution", "Tset")), registered, MARKER)
    with pytest.raises(RefusedError, match="Unexpected parameter 'x'"):
        azure_devops.preview(run_plan(parameters=PASSED | {"x": "1"}), registered, MARKER)

    assert env.azure_devops.runs == []


def test_an_unknown_stage_to_skip_starts_no_run(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, stages=["Test", "Production"])

    assert refusal(env, run_plan(stages_to_skip=("Prodution",))) == (
        "'Prodution' is not a valid stage to skip.",
        "correct stages_to_skip in the route",
    )
    assert env.azure_devops.runs == []


def test_a_run_that_skips_stages_costs_one_request(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, stages=["Test", "Production"])
    azure_devops, plan = client(env), run_plan(stages_to_skip=("Test",))
    azure_devops.find(plan.target)
    before = len(env.azure_devops.requests)

    create(azure_devops, plan)

    assert [request.method for request in env.azure_devops.requests[before:]] == ["POST"]


@pytest.mark.parametrize("text", ["=", "<<", "2021-02-30", "!x y", "yes", "~", "010", "1:30", "0o8"])
def test_a_planned_yaml_is_read_as_text(env: Environment, text: str) -> None:
    final_yaml = f"stages:\n- stage: {text}\n  variables: {{v: {text}, {text}: v}}\n"
    name = text.removeprefix("!x ")
    preview = Fault(method="POST", path="/preview", status=200, body={"finalYaml": final_yaml}, times=2)
    env.azure_devops.misbehave(preview)
    azure_devops, registered = client(env), parse(event())

    azure_devops.preview(run_plan(stages_to_skip=(name.upper(),)), registered, MARKER)
    with pytest.raises(RefusedError, match="pipeline Deploy sklearn model has no stage other; correct stages_to_skip"):
        azure_devops.preview(run_plan(stages_to_skip=(name, "other")), registered, MARKER)


def test_an_undeclared_marker_is_refused_with_what_to_declare(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, parameters={"modelName": {"default": ""}, "modelVersion": {"default": ""}})

    problem, fix = refusal(env, run_plan())

    assert "Unexpected parameter 'modelReleaseMarker'" in problem
    assert fix == "declare the parameter modelReleaseMarker of type string with the default '' in the pipeline's YAML"


def grant(env: Environment) -> None:
    env.azure_devops.permissions |= {"Queue builds", "View builds", "View build pipeline"}


def change(**changes: Any) -> Callable[[Environment], Any]:
    return lambda env: env.azure_devops.pipelines.change(2, **changes)


DECLARE = change(parameters={name: {"default": default} for name, default in DECLARED.items()})
REFUSALS = {
    "unknown pipeline": (
        lambda env: setattr(env, "removed", env.azure_devops.pipelines._pipelines.pop(2)),
        lambda env: env.azure_devops.pipelines._pipelines.update({2: env.removed}),
        "has no pipeline Deploy sklearn model",
    ),
    "disabled pipeline": (change(disabled=True), change(disabled=False), "disabled"),
    "missing permission": (
        lambda env: env.azure_devops.permissions.discard("Queue builds"),
        grant,
        "needs Queue builds permissions",
    ),
    "no permission to view": (
        lambda env: env.azure_devops.permissions.clear(),
        grant,
        "or this identity cannot view it",
    ),
    "undeclared parameters": (
        change(parameters={}),
        DECLARE,
        "Unexpected parameter 'modelName'; Unexpected parameter 'm",
    ),
    "undeclared marker": (
        change(parameters={"modelName": {"default": None}, "modelVersion": {"default": None}}),
        DECLARE,
        "Unexpected parameter 'modelReleaseMarker'; declare the parameter modelReleaseMarker of type string",
    ),
    "a parameter without a value": (
        change(
            parameters={name: {"default": default} for name, default in DECLARED.items()} | {"more": {"default": None}}
        ),
        DECLARE,
        "A value for the 'more' parameter must be provided.",
    ),
}


@pytest.mark.parametrize("remembered", [False, True], ids=["cold", "remembered"])
@pytest.mark.parametrize(("break_it", "fix_it", "problem"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_the_reason_and_the_run_starts_once_it_is_fixed(
    env: Environment, break_it: Callable, fix_it: Callable, problem: str, *, remembered: bool
) -> None:
    assert_refused_until_fixed(env, break_it, fix_it, problem, remembered=remembered)


@pytest.mark.parametrize(
    "details", [[], {"ValidationResults": "x"}, {"ValidationResults": [1, {}]}, {"ValidationResults": [None]}]
)
def test_malformed_details_of_a_refusal_are_ignored(env: Environment, details: Any) -> None:
    body = {"message": "no", "customProperties": details}
    env.azure_devops.misbehave(Fault(**env.requests.start, status=400, body=body, times=1))

    with pytest.raises(RefusedError):
        create(env, run_plan())


def test_a_marker_is_found_on_any_page_of_the_list(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, run_plan())
    others = [{**env.azure_devops.runs[0], "id": number, "templateParameters": PASSED} for number in range(2, 103)]
    env.azure_devops.runs.extend(others)

    found = find_by_marker(env, azure_devops)

    assert found
    assert found.id == 1
    assert len([request for request in env.azure_devops.requests if request.path.endswith("/Builds")]) == 2


def test_a_persons_run_with_the_same_parameters_is_not_adopted(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="before", times=1))
    env.registered(event())
    create(env, run_plan())

    env.later(minutes=5)
    env.later(minutes=5)

    assert env.history[0].release_id == 2
    assert env.versions == ["20", "20"]


def test_a_restart_whose_answer_was_lost_finds_its_own_run(env: Environment) -> None:
    env.registered(event())
    registered = parse(event())
    (claim,) = env.claims.recorded(registered.workspace, registered.model)["20"].claims
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))

    (restarted,) = env.app.start_release.restart(claim, "key")
    assert restarted.state is State.UNKNOWN
    (entry,) = env.later(minutes=1)

    assert (entry.state, entry.release_id) == (State.STARTED, 2)
    assert env.versions == ["20", "20"]


def test_a_run_of_another_pipeline_or_from_before_the_claim_is_not_found(env: Environment) -> None:
    env.azure_devops.add_pipeline("fraud", "Other", parameters=DECLARED)
    create(env, run_plan("Other"))
    create(env, run_plan())
    env.azure_devops.runs[1]["createdDate"] = "2020-01-01T00:00:00Z"

    assert find_by_marker(env) is None


def test_each_run_is_read_if_the_list_does_not_contain_the_parameters(env: Environment) -> None:
    create(env, run_plan())
    env.azure_devops.pipelines.builds_tell_parameters = False

    assert find_by_marker(env)


def test_a_run_whose_parameters_cannot_be_read_never_counts_as_not_found(env: Environment) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, close="after", times=1))
    env.registered(event())
    env.azure_devops.pipelines.builds_tell_parameters = False
    env.azure_devops.pipelines.runs_tell_parameters = False

    (entry,) = env.later(minutes=5)

    assert entry.state is State.UNKNOWN
    assert "Azure DevOps does not return the parameters of run 1 in project fraud" in entry.reason
    env.azure_devops.pipelines.runs_tell_parameters = True
    env.later(hours=1)
    assert env.history[0].state is State.STARTED
    assert env.versions == ["20"]


def test_a_run_that_azure_devops_refused_is_not_found(env: Environment) -> None:
    create(env, run_plan())
    env.azure_devops.runs[0]["validationResults"] = [{"result": "error", "message": "no such file"}]

    assert find_by_marker(env) is None


def reads_of_runs(env: Environment) -> list[str]:
    return [
        request.path for request in env.azure_devops.requests if request.method == "GET" and "/runs/" in request.path
    ]


def test_no_run_is_read_that_was_not_queued_manually(env: Environment) -> None:
    azure_devops = client(env)
    create(azure_devops, run_plan())
    env.azure_devops.pipelines.builds_tell_parameters = False
    reasons = (
        "individualCI",
        "batchedCI",
        "schedule",
        "pullRequest",
        "buildCompletion",
        "resourceTrigger",
        "Triggered",
    )
    env.azure_devops.runs.extend(
        {**env.azure_devops.runs[0], "id": number, "reason": reason} for number, reason in enumerate(reasons, 2)
    )

    found = find_by_marker(env, azure_devops)

    assert found
    assert (found.id, len(reads_of_runs(env))) == (1, 1)


@pytest.mark.parametrize("reason", ["manual", "userCreated", "none", "of another kind", 1, None])
def test_a_run_with_an_unknown_reason_may_be_ours(env: Environment, reason: Any) -> None:
    create(env, run_plan())
    env.azure_devops.runs[0]["reason"] = reason

    assert find_by_marker(env)


def test_no_run_is_read_that_is_older_than_the_claim(env: Environment) -> None:
    create(env, run_plan())
    old = {"id": 1, "queueTime": "2020-01-01T00:00:00Z", "reason": "manual"}
    env.azure_devops.misbehave(Fault(**env.requests.look, status=200, body={"count": 1, "value": [old]}))

    assert find_by_marker(env) is None
    assert reads_of_runs(env) == []


@pytest.mark.parametrize("parameters", [{"modelReleaseMarker": "[model-release 1]"}, {"modelVersion": "19"}])
def test_an_answer_about_another_run_does_not_mean_that_ours_was_started(env: Environment, parameters: Any) -> None:
    body = {"id": 9, "name": "another", "templateParameters": parameters}
    env.azure_devops.misbehave(Fault(**env.requests.start, status=200, body=body))

    with pytest.raises(UnknownOutcomeError):
        create(env, run_plan())


@pytest.mark.parametrize("parameters", [{}, None, {"MODELRELEASEMARKER": MARKER}])
def test_an_answer_without_parameters_or_with_our_marker_is_our_run(env: Environment, parameters: Any) -> None:
    body = {"id": 9, "name": "ours", "templateParameters": parameters}
    env.azure_devops.misbehave(Fault(**env.requests.start, status=200, body=body))

    assert create(env, run_plan()).id == 9


def test_the_stages_of_a_run_have_their_status_and_who_approved(env: Environment) -> None:
    env.azure_devops.pipelines.change(2, stages=["Test", "Production", "__default"])
    created = create(env, run_plan())
    (run,) = env.azure_devops.runs
    run["timeline"][0] |= {"state": "completed", "result": "succeededWithIssues"}
    steps = [
        {"status": "approved", "actualApprover": {"displayName": "Ada Lovelace"}},
        {"status": "pending", "assignedApprover": {"displayName": "Owners"}},
    ]
    add_approval(run, "Production", {"id": "fe353cd7-2b39-4ba4-ab3d-d82379827795", "steps": steps})

    assert client(env).stages(Target("fraud", 2, "pipeline"), created.id) == (
        Stage("Test", "succeeded with issues", ()),
        Stage("Production", "pending", (Approval("Ada Lovelace", "approved"), Approval("Owners", "pending"))),
        Stage("the run", "pending", ()),
    )
    run["timeline"].clear()
    assert client(env).stages(Target("fraud", 2, "pipeline"), created.id) == ()

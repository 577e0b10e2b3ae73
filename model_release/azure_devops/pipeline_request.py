"""The body of the request that starts a run of a pipeline (pure)."""

from datetime import datetime
from typing import Any, NamedTuple

import yaml

from model_release.domain.release_map import MARKER_PARAMETER
from model_release.domain.targets import RunPlan
from model_release.errors import RefusedError
from model_release.reason import ReasonKind

# Why builds are queued by something else than a person or the REST API.
# https://learn.microsoft.com/rest/api/azure/devops/build/builds/list#buildreason
_OTHER_REASONS = {
    "individualci",
    "batchedci",
    "schedule",
    "scheduleforced",
    "validateshelveset",
    "checkinshelveset",
    "pullrequest",
    "buildcompletion",
    "resourcetrigger",
    "triggered",
}
STAGES_FIX = "correct stages_to_skip in the route"


class Pipeline(NamedTuple):
    """A YAML pipeline."""

    id: int
    name: str
    folder: str
    project_id: str


def run_request(plan: RunPlan, marker: str) -> dict[str, Any]:
    """Build the RunPipelineParameters, with the marker as a parameter of its own.

    https://learn.microsoft.com/rest/api/azure/devops/pipelines/runs/run-pipeline
    """
    request: dict[str, Any] = {"templateParameters": {**plan.parameters, MARKER_PARAMETER: marker}}
    if plan.branch:
        request["resources"] = {"repositories": {"self": {"refName": plan.branch}}}
    if plan.stages_to_skip:
        request["stagesToSkip"] = list(plan.stages_to_skip)
    return request


def check_stages(pipeline: Pipeline, request: dict[str, Any], final_yaml: str) -> None:
    """Raise RefusedError for a stage to skip that the YAML does not have, because Azure DevOps Server may ignore it."""
    wanted = request.get("stagesToSkip")
    if not wanted:
        return
    # This loader makes texts only. For others `yes` is not a text, and `=` or a date that does not exist is a fault.
    content = yaml.load(final_yaml, yaml.BaseLoader)  # noqa: S506  it cannot construct objects
    names = {stage.get("stage", "").casefold() for stage in content.get("stages") or []}
    if unknown := [stage for stage in wanted if stage.casefold() not in names]:
        problem = f"pipeline {pipeline.name} has no stage {' and no stage '.join(unknown)}"
        raise RefusedError(problem, STAGES_FIX, kind=ReasonKind.TARGET_MISFIT)


def has_marker(parameters: dict[str, Any], marker: str) -> bool:
    """Whether the parameters of a run contain the marker; Azure DevOps ignores the case of their names."""
    return any(name.casefold() == MARKER_PARAMETER.casefold() and value == marker for name, value in parameters.items())


def may_be_ours(build: Any, since: datetime) -> bool:
    """Whether a build may be a run that was created since then; an unknown reason may be ours."""
    # Azure DevOps keeps a run that it refused as a failed build.
    refused = any(result.result == "error" for result in build.validation_results or [])
    is_older = build.queue_time is not None and build.queue_time < since
    return not (refused or is_older or str(build.reason).casefold() in _OTHER_REASONS)

"""What a pipeline is asked to run: the body of the one request that starts a run (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from model_release.domain.release_map import MARKER_PARAMETER, RunStart
from model_release.errors import Refused


@dataclass(frozen=True)
class Pipeline:
    """A YAML pipeline, where its project keeps it, and its address for programs."""

    id: int
    name: str
    folder: str
    url: str


def run_request(start: RunStart, marker: str) -> dict[str, Any]:
    """The RunPipelineParameters, with the marker as a parameter of its own.

    https://learn.microsoft.com/rest/api/azure/devops/pipelines/runs/run-pipeline
    """
    request: dict[str, Any] = {"templateParameters": {**start.parameters, MARKER_PARAMETER: marker}}
    if start.branch:
        request["resources"] = {"repositories": {"self": {"refName": start.branch}}}
    if start.stages_to_skip:
        request["stagesToSkip"] = list(start.stages_to_skip)
    return request


def check_stages(pipeline: Pipeline, request: dict[str, Any], planned: str) -> None:
    """Raise Refused when a stage to skip is none of the planned YAML's: Azure DevOps would run all of them."""
    wanted = request.get("stagesToSkip")
    if not wanted:
        return
    names = {str(stage.get("stage")).casefold() for stage in yaml.safe_load(planned).get("stages") or []}
    unknown = [stage for stage in wanted if stage.casefold() not in names]
    if unknown:
        raise Refused("; ".join(f"pipeline {pipeline.name} has no stage {stage}" for stage in unknown))


def carries(parameters: dict[str, Any], marker: str) -> bool:
    """Whether a run with these parameters is the one that the marker names; Azure DevOps ignores the case of names."""
    return any(name.casefold() == MARKER_PARAMETER.casefold() and value == marker for name, value in parameters.items())


def explained(refusal: str) -> str:
    """Azure DevOps' refusal, and what to add when the pipeline does not know the marker."""
    if f"Unexpected parameter '{MARKER_PARAMETER}'" not in refusal:
        return refusal
    return (
        f"{refusal}; declare it in the pipeline's YAML, of type string and with the default '': by its value "
        "a run is found again after a lost answer"
    )

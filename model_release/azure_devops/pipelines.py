"""YAML pipelines: find one, start a run, look for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import Any

from model_release.azure_devops.pipeline_request import Pipeline, carries, check_stages, explained, run_request
from model_release.azure_devops.sdk import PostRequest, Sdk, web_page
from model_release.azure_devops.target_name import the_one
from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import RunStart, StartedRelease, Target
from model_release.errors import Refused

from azure.devops.released.build import BuildClient  # isort: skip  sooner, it would write below the home folder
from azure.devops.released.pipelines import PipelinesClient  # isort: skip

_RUNS = "7859261e-d2e9-4a68-b820-a5d84cc5bb3d"
_PAGE = 100


class PipelineTargets:
    """The YAML pipelines of one organization."""

    def __init__(self, sdk: Sdk, url: str) -> None:
        self._sdk = sdk
        self._client = sdk.client(PipelinesClient, url)
        # A run is a build too, and only the list of builds has pages and a filter by time.
        self._builds = sdk.client(BuildClient, url)

    def find(self, target: Target) -> Pipeline:
        """The pipeline of this id or name."""
        with self._sdk.asking():
            if isinstance(target.definition, int):
                found = self._client.get_pipeline(target.project, target.definition)
            else:
                found = the_one(target, "pipeline", self._listed(target.project), attrgetter("folder"))
            return Pipeline(found.id, found.name, found.folder or "", found.url or "")

    def request(self, found: Pipeline, start: RunStart, _: ModelRegistered, marker: str) -> dict[str, Any]:
        """The RunPipelineParameters, with the marker among them; a stage to skip is there to be skipped."""
        request = run_request(start, marker)
        if start.stages_to_skip:
            self.rehearse(found, start.target, request)
        return request

    def post(self, found: Pipeline, target: Target, request: dict[str, Any]) -> PostRequest:
        """The request that starts the run."""
        route = {"project": target.project, "pipelineId": found.id}
        return self._sdk.post(self._client, _RUNS, route, self._read(request), "RunPipelineParameters")

    def rehearse(self, found: Pipeline, target: Target, request: dict[str, Any]) -> None:
        """Let Azure DevOps plan a run, with all that it would refuse, and compare the stages of what would run."""
        with _explaining(), self._sdk.asking():
            check_stages(found, request, self._client.preview(self._read(request), target.project, found.id).final_yaml)

    def create(self, found: Pipeline, target: Target, request: dict[str, Any]) -> StartedRelease:
        """Start the run."""
        parameters = self._read(request)
        with _explaining(), self._sdk.starting():
            run = self._client.run_pipeline(parameters, target.project, found.id)
            return _started(run, run.name)

    def look(self, found: Pipeline, target: Target, marker: str, since: datetime) -> StartedRelease | None:
        """Find the run whose parameters carry the marker."""
        with self._sdk.asking():
            for build in self._started_since(found, target, since):
                # A run that could not be planned is kept as a failed one, and was answered with a refusal.
                if any(result.result == "error" for result in build.validation_results or []):
                    continue
                parameters = build.template_parameters or self._parameters_of(found, target, build.id)
                if carries(parameters, marker):
                    return _started(build, build.build_number)
        return None

    def reach(self, project: str) -> None:
        """Ask for one pipeline."""
        with self._sdk.asking():
            self._client.list_pipelines(project, top=1)

    def _read(self, request: dict[str, Any]) -> Any:
        return self._client._deserialize.deserialize_data(request, "RunPipelineParameters")  # noqa: SLF001

    def _listed(self, project: str) -> Iterator[Any]:
        return self._sdk.pages(lambda token: self._client.list_pipelines(project, continuation_token=token))

    def _started_since(self, found: Pipeline, target: Target, since: datetime) -> Iterator[Any]:
        """The newest first: what is looked for was started a short time ago."""
        return self._sdk.pages(
            lambda token: self._builds.get_builds(
                target.project,
                definitions=[found.id],
                min_time=since,
                query_order="queueTimeDescending",
                top=_PAGE,
                continuation_token=token,
            )
        )

    def _parameters_of(self, found: Pipeline, target: Target, run: int) -> dict[str, Any]:
        told = self._client.get_run(target.project, found.id, run)
        # The SDK's model of a run does not know them.
        parameters: dict[str, Any] | None = (told.additional_properties or {}).get("templateParameters")
        if parameters is None:
            msg = f"Azure DevOps does not tell with which parameters run {run} of pipeline {found.name} was started"
            raise Refused(msg)
        return parameters


def _started(run: Any, name: str | None) -> StartedRelease:
    if run is None or not run.id:
        msg = "the answer holds no run"
        raise ValueError(msg)
    return StartedRelease(run.id, name or "", web_page(run))


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        raise Refused(explained(str(refusal)), refusal.retry_after) from refusal

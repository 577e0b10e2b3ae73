"""YAML pipelines: find one, start a run, and find a run by its marker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import Any
from urllib.parse import quote

from model_release.azure_devops.answers import approval, created, status_words
from model_release.azure_devops.pipeline_request import (
    STAGES_FIX,
    Pipeline,
    check_stages,
    has_marker,
    may_be_ours,
    run_request,
)
from model_release.azure_devops.sdk import PostRequest, Sdk
from model_release.azure_devops.target_name import project_id_in, the_one
from model_release.domain.events import ModelRegistered
from model_release.domain.release_map import MARKER_PARAMETER
from model_release.domain.targets import Approval, Created, RunPlan, Stage, Target
from model_release.errors import RefusedError
from model_release.reason import ReasonKind
from model_release.text import shorten

# `sdk` must be imported first, or the SDK writes to the home folder.
from azure.devops.released.build import BuildClient  # isort: skip
from azure.devops.released.pipelines import PipelinesClient  # isort: skip

_RUNS = "7859261e-d2e9-4a68-b820-a5d84cc5bb3d"
_APPROVALS = "37794717-f36f-4d78-b2bf-4dc30d0cfbcd"
_PAGE = 100
# In the timeline of a run.
_APPROVAL = "Checkpoint.Approval"
# A run whose YAML has no stages has one without a name.
_RUN = "the run"
# Fixes of refusals, by Azure DevOps' own words.
_FIXES = {
    f"Unexpected parameter '{MARKER_PARAMETER}'": (
        f"declare the parameter {MARKER_PARAMETER} of type string with the default '' in the pipeline's YAML"
    ),
    "is not a valid stage to skip": STAGES_FIX,
}


class PipelineTargets:
    """The YAML pipelines of one organization."""

    def __init__(self, sdk: Sdk, url: str) -> None:
        self._sdk = sdk
        self._url = url
        self._client = sdk.client(PipelinesClient, url)
        # A run is also a build, and only the list of builds has pages and a filter by time.
        self._builds = sdk.client(BuildClient, url)

    def find(self, target: Target) -> Pipeline:
        """Read the pipeline with this ID or name."""
        with self._sdk.reading():
            if isinstance(target.definition, int):
                found = self._client.get_pipeline(target.project, target.definition)
            else:
                listed = self._sdk.pages(
                    lambda token: self._client.list_pipelines(target.project, continuation_token=token)
                )
                found = the_one(target, listed, attrgetter("folder"))
            return Pipeline(found.id, found.name, found.folder or "", project_id_in(found.url or ""))

    def body(self, _: Pipeline, plan: RunPlan, __: ModelRegistered, marker: str) -> dict[str, Any]:
        """Build the RunPipelineParameters."""
        return run_request(plan, marker)

    def post_request(self, found: Pipeline, target: Target, body: dict[str, Any]) -> PostRequest:
        """Build the request that starts the run."""
        route = {"project": target.project, "pipelineId": found.id}
        return self._sdk.post_request(self._client, _RUNS, route, self._parameters(body), "RunPipelineParameters")

    def preview(self, found: Pipeline, target: Target, body: dict[str, Any]) -> None:
        """Let Azure DevOps plan the run, and check the stages to skip against the resulting YAML."""
        with _explaining(), self._sdk.reading():
            check_stages(found, body, self._client.preview(self._parameters(body), target.project, found.id).final_yaml)

    def create(self, found: Pipeline, target: Target, body: dict[str, Any]) -> Created:
        """Start the run."""
        request = self._parameters(body)
        with _explaining(), self._sdk.creating():
            run = self._client.run_pipeline(request, target.project, found.id)
            parameters = _parameters_in(run)
            if parameters and not has_marker(parameters, body["templateParameters"][MARKER_PARAMETER]):
                raise ValueError("the answer contains another run")
            return created(run, run.name, self._url, self._page(target.project))

    def find_by_marker(
        self, project: str, definition_id: int, marker: str, since: datetime, check_time: Callable[[], None]
    ) -> Created | None:
        """Find the run whose parameters contain the marker."""
        with self._sdk.reading():
            for build in self._builds_since(project, definition_id, since, check_time):
                if not may_be_ours(build, since):
                    continue
                parameters = build.template_parameters or self._parameters_of(project, definition_id, build.id)
                if has_marker(parameters, marker):
                    return created(build, build.build_number, self._url, self._page(project))
        return None

    def stages(self, project: str, run_id: int) -> tuple[Stage, ...]:
        """Read the stages of a run in their order; a run that has not begun has none."""
        with self._sdk.reading():
            timeline = self._builds.get_build_timeline(project, run_id)
            records = (timeline.records if timeline else None) or []
            checks = {one.id: one.parent_id for one in records if one.type == "Checkpoint"}
            stage_of = {one.id: checks.get(one.parent_id) for one in records if one.type == _APPROVAL}
            approvals = self._approvals(project, list(stage_of)) if stage_of else {}
            stages = sorted((one for one in records if one.type == "Stage"), key=lambda one: one.order or 0)
            return tuple(
                Stage(
                    _RUN if one.name == "__default" else shorten(one.name),
                    status_words(one.result if one.state == "completed" else one.state),
                    tuple(
                        each for id_, stage in stage_of.items() if stage == one.id for each in approvals.get(id_, ())
                    ),
                )
                for one in stages
            )

    def _approvals(self, project: str, ids: list[str]) -> dict[str, list[Approval]]:
        """Read who decided; the SDK has no method for it.

        https://learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/approvals/query
        """
        query = {"approvalIds": ",".join(ids), "$expand": "steps"}
        route = {"project": project}
        answer = self._client._send(  # noqa: SLF001
            "GET", _APPROVALS, "7.1-preview.1", route_values=route, query_parameters=query
        )
        return {one["id"]: [_approval(step) for step in one.get("steps") or []] for one in answer.json()["value"]}

    def probe(self, project: str) -> None:
        """List one pipeline."""
        with self._sdk.reading():
            self._client.list_pipelines(project, top=1)

    def _page(self, project: str) -> str:
        return f"{self._url}/{quote(project)}/_build/results?buildId={{}}"

    def _parameters(self, body: dict[str, Any]) -> Any:
        return self._client._deserialize.deserialize_data(body, "RunPipelineParameters")  # noqa: SLF001

    def _builds_since(
        self, project: str, definition_id: int, since: datetime, check_time: Callable[[], None]
    ) -> Iterator[Any]:
        """List the newest first, because the run was usually started a short time ago."""
        return self._sdk.pages(
            lambda token: self._builds.get_builds(
                project,
                definitions=[definition_id],
                min_time=since,
                query_order="queueTimeDescending",
                top=_PAGE,
                continuation_token=token,
            ),
            check_time,
        )

    def _parameters_of(self, project: str, pipeline_id: int, run_id: int) -> dict[str, Any]:
        run = self._client.get_run(project, pipeline_id, run_id)
        parameters = _parameters_in(run)
        if parameters is None:
            raise RefusedError(
                f"Azure DevOps does not return the parameters of run {run_id} in project {project}",
                f"check the run's parameter {MARKER_PARAMETER} manually",
            )
        return parameters


def _approval(step: dict[str, Any]) -> Approval:
    person = step.get("actualApprover") or step.get("assignedApprover") or {}
    return approval(person.get("displayName"), step.get("status"))


def _parameters_in(run: Any) -> dict[str, Any] | None:
    # The SDK's model of a run does not have them.
    return (run.additional_properties or {}).get("templateParameters")


@contextmanager
def _explaining() -> Iterator[None]:
    """Add the fix of a refusal that names none."""
    try:
        yield
    except RefusedError as refusal:
        fix = next((fix for words, fix in _FIXES.items() if words in refusal.problem), None)
        if refusal.fix or not fix:
            raise
        kind, pause = ReasonKind.TARGET_MISFIT, refusal.retry_after
        raise RefusedError(refusal.problem, fix, kind=kind, retry_after=pause) from refusal

"""The pipeline half of the local Azure DevOps: YAML pipelines and their runs over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from werkzeug.wrappers import Response

from local import azure_devops_runs as runs
from local.azure_devops_http import Call, ErrorType, Handler, Json, Refusal, json_of, list_of, moment
from local.azure_devops_security import Organization, token_of

_MOST_PIPELINES = 10_000
ACCESS_DENIED = ErrorType("AccessDeniedException", 403, *runs.BUILD)
DISABLED = ErrorType("DefinitionDisabledException", 400, *runs.BUILD)
NOT_FOUND = ErrorType("PipelineNotFoundException", 404, *runs.PIPELINES)
# Only the preview answers so.
NOTHING_TO_PREVIEW = NOT_FOUND._replace(status=500)
BUILD_NOT_FOUND = ErrorType("BuildNotFoundException", 404, *runs.BUILD)
RUN_NOT_FOUND = ErrorType("RunNotFoundException", 404, *runs.PIPELINES)


class Pipelines:
    """The pipelines of all projects of an organization, and their runs, oldest first."""

    def __init__(self, organization: Organization) -> None:
        self.runs: list[Json] = []
        self.runs_tell_parameters = True
        self.builds_tell_parameters = True
        self._organization = organization
        self._pipelines: dict[int, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each request."""
        pipelines = "/{organization}/{project}/_apis/pipelines"
        return {
            f"GET {pipelines}/approvals": self._list_approvals,
            f"GET {pipelines}": self._list,
            f"GET {pipelines}/{{id}}": self._get,
            f"POST {pipelines}/{{id}}/preview": self._preview,
            f"GET {pipelines}/{{id}}/runs/{{run}}": self._get_run,
            f"POST {pipelines}/{{id}}/runs": self._run,
            "GET /{organization}/{project}/_apis/build/builds": self._list_builds,
            "GET /{organization}/{project}/_apis/build/builds/{run}/timeline": self._get_timeline,
        }

    def add(
        self,
        project: Json,
        name: str,
        *,
        id: int | None = None,  # noqa: A002  Azure DevOps' word
        folder: str = "\\",
        parameters: Mapping[str, str | None] | None = None,
        types: Mapping[str, str] | None = None,
        branches: Sequence[str] = ("refs/heads/main",),
        stages: Sequence[str] = ("Deploy",),
        disabled: bool = False,
    ) -> Json:
        """Add a pipeline and return it, to be changed by the caller.

        The parameters are their defaults, None for a required one, and strings unless they have a type.
        The first branch is the default branch.
        """
        number = id or max(self._pipelines, default=0) + 1
        if number in self._pipelines:
            raise ValueError(f"There is a pipeline {number} already.")
        self._pipelines[number] = {
            "id": number,
            "name": name,
            "folder": folder,
            "revision": 1,
            "project": project,
            "parameters": {
                key: {"default": value, "type": (types or {}).get(key, "string")}
                for key, value in (parameters or {}).items()
            },
            "branches": list(branches),
            "stages": list(stages),
            "disabled": disabled,
        }
        return self._pipelines[number]

    def change(self, number: int, **changes: Any) -> Json:
        """Change a pipeline, and return it."""
        self._pipelines[number].update(changes)
        return self._pipelines[number]

    def _list(self, call: Call) -> Response:
        # Without the permission the list is empty; this is not an error.
        visible = [it for it in self._of(call.project) if self._permits("View build pipeline", it)]
        ordered = sorted(visible, key=lambda pipeline: (pipeline["name"].lower(), pipeline["id"]))
        first = int(call.query.get("continuationToken", 0))
        end = first + min(int(call.query.get("$top", _MOST_PIPELINES)), _MOST_PIPELINES)
        return list_of(
            [runs.shown_pipeline(pipeline, call) for pipeline in ordered[first:end]], end if ordered[end:] else None
        )

    def _get(self, call: Call) -> Response:
        self._require("View build pipeline", call)
        pipeline = self._pipeline(call)
        repository = {"id": "17c74b2a-0000-4000-8000-5452cb7693b8", "type": "azureReposGit"}
        configuration = {"path": "azure-pipelines.yml", "repository": repository, "type": "yaml"}
        return json_of({**runs.shown_pipeline(pipeline, call), "configuration": configuration})

    def _get_run(self, call: Call) -> Response:
        self._require("View builds", call)
        for run in self._runs_of(self._pipeline(call)):
            if run["id"] == int(call.run):
                return json_of(self._shown_run(run))
        raise Refusal(RUN_NOT_FOUND, f"A run with id {call.run} was not found.")

    def _shown_run(self, run: Json) -> Json:
        hidden = [
            "validationResults",
            "sourceBranch",
            "reason",
            "timeline",
            "approvals",
        ]  # shown by the list of builds only
        if not self.runs_tell_parameters:
            hidden.append("templateParameters")
        return {key: value for key, value in run.items() if key not in hidden}

    def _run(self, call: Call) -> Response:
        pipeline = self._checked(call, call.body)
        number = max((run["id"] for run in self.runs), default=0) + 1
        run = runs.new_run(call, pipeline, number, self._runs_of(pipeline))
        self.runs.append(run)
        return json_of(self._shown_run(run))

    def _preview(self, call: Call) -> Response:
        if not any(pipeline["id"] == int(call.id) for pipeline in self._of(call.project)):
            raise Refusal(NOTHING_TO_PREVIEW, f"The pipeline '{call.id}' does not exist")
        pipeline = self._checked(call, call.body)
        stages = [{"stage": name, "jobs": [{"job": "Deploy"}]} for name in pipeline["stages"]]
        return json_of({"finalYaml": yaml.safe_dump({"stages": stages}, sort_keys=False)})

    def _checked(self, call: Call, request: Json) -> Json:
        self._require("Queue builds", call)
        pipeline = self._pipeline(call)
        if pipeline["disabled"]:
            raise Refusal(DISABLED, f"The build definition {pipeline['name']} is disabled.")
        runs.check_request(pipeline, request)
        return pipeline

    def _get_timeline(self, call: Call) -> Response:
        for run in self._visible_runs(call):
            if run["id"] == int(call.run):
                return json_of({"records": run["timeline"]})
        raise Refusal(BUILD_NOT_FOUND, f"The requested build {call.run} could not be found.")

    def _list_approvals(self, call: Call) -> Response:
        wanted = call.query["approvalIds"].split(",")
        steps = call.query.get("$expand") == "steps"
        found = [one for run in self._visible_runs(call) for one in run["approvals"] if one["id"] in wanted]
        return list_of([one if steps else one | {"steps": []} for one in found])

    def _visible_runs(self, call: Call) -> list[Json]:
        visible = [pipeline for pipeline in self._of(call.project) if self._permits("View builds", pipeline)]
        return [run for pipeline in visible for run in self._runs_of(pipeline)]

    def _list_builds(self, call: Call) -> Response:
        """List runs as builds, newest first, with the filters that find a run by its marker."""
        definitions = {int(number) for number in call.query["definitions"].split(",")}
        since = moment(call.query["minTime"])
        found = [
            runs.as_build(run, with_parameters=self.builds_tell_parameters)
            for pipeline in self._of(call.project)
            if pipeline["id"] in definitions and self._permits("View builds", pipeline)
            for run in self._runs_of(pipeline)
            if moment(run["createdDate"]) >= since
        ]
        found.sort(key=runs.place_of, reverse=True)
        if after := call.query.get("continuationToken"):
            found = [build for build in found if runs.place_of(build) <= runs.place_from(after)]
        top = min(int(call.query.get("$top", 1000)), 5000)
        return list_of(found[:top], runs.continuation_token(found[top]) if found[top:] else None)

    def _of(self, project: str) -> list[Json]:
        found = self._organization.project(project)
        return [pipeline for pipeline in self._pipelines.values() if pipeline["project"]["id"] == found["id"]]

    def _pipeline(self, call: Call) -> Json:
        for pipeline in self._of(call.project):
            if pipeline["id"] == int(call.id):
                return pipeline
        raise Refusal(NOT_FOUND, f"Pipeline with id {call.id} was not found.")

    def _runs_of(self, pipeline: Json) -> list[Json]:
        return [run for run in self.runs if run["pipeline"]["id"] == pipeline["id"]]

    def _permits(self, permission: str, pipeline: Json | None) -> bool:
        return self._organization.allows(pipeline_token(pipeline), permission)

    def _require(self, permission: str, call: Call) -> None:
        if not self._permits(permission, self._pipelines.get(int(call.id))):
            message = (
                f"TF215106: Access denied. Model Release needs {permission} permissions for build pipeline {call.id} "
                f"in team project {call.project} to perform the action."
            )
            raise Refusal(ACCESS_DENIED, message)


def pipeline_token(pipeline: Json | None) -> str:
    """Return the security token of a pipeline; empty if there is none."""
    return token_of(pipeline["project"]["id"], pipeline["folder"], pipeline["id"]) if pipeline else ""

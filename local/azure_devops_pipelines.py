"""YAML pipelines and their runs, as Azure DevOps describes them, finds them and refuses to start them.

What no document tells and no recorded answer shows is a guess: a name in `stagesToSkip` that no stage has is passed
over in silence, and a refused value of a parameter is told in words of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml
from werkzeug.wrappers import Response

from local.azure_devops_http import Call, Handler, json_of, list_of
from local.azure_devops_releases import Json, Kind, Refusal, now
from local.azure_devops_security import token_of

# The ids are the SDK's; area, name and template make the address of a resource.
LOCATIONS = [
    ("28e1305e-2afe-47bf-abaf-cbb0e6a91988", "pipelines", "pipelines", "{project}/_apis/{area}/{pipelineId}", 1),
    (
        "7859261e-d2e9-4a68-b820-a5d84cc5bb3d",
        "pipelines",
        "runs",
        "{project}/_apis/{area}/{pipelineId}/{resource}/{runId}",
        1,
    ),
    (
        "53df2d18-29ea-46a9-bee0-933540f80abf",
        "pipelines",
        "preview",
        "{project}/_apis/{area}/{pipelineId}/{resource}",
        1,
    ),
    ("0cd358e1-9217-4d94-8269-1c1ee6f93dcf", "build", "Builds", "{project}/_apis/{area}/{resource}/{buildId}", 7),
]
PERMISSIONS = {"Queue builds", "View builds", "View build pipeline"}

_MOST_RUNS = 10_000
_BUILD = ("Microsoft.TeamFoundation.Build.WebApi", "Microsoft.TeamFoundation.Build2.WebApi")
_PIPELINES = ("Microsoft.Azure.Pipelines.WebApi", "Microsoft.Azure.Pipelines.WebApi")
ACCESS_DENIED = Kind("AccessDeniedException", 403, *_BUILD)
DISABLED = Kind("DefinitionDisabledException", 400, *_BUILD)
INVALID_ARGUMENT = Kind("ArgumentException", 400, "System", "mscorlib")
NOT_FOUND = Kind("PipelineNotFoundException", 404, *_PIPELINES)
NOT_QUEUED = Kind("BuildRequestValidationFailedException", 400, *_BUILD)
NOT_VALID = Kind("PipelineValidationException", 400, *_PIPELINES)
RUN_NOT_FOUND = Kind("RunNotFoundException", 404, *_PIPELINES)


class Pipelines:
    """The pipelines of all projects and their runs, the oldest first."""

    def __init__(self, project: Callable[[str], Json], allows: Callable[[str, str], bool]) -> None:
        """`project` finds a project by its name or id, or refuses; `allows` tells of a permission and a token."""
        self.runs: list[Json] = []
        self.runs_tell_parameters = True
        self.builds_tell_parameters = True
        self._project = project
        self._permits = allows
        self._pipelines: dict[int, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Who answers which request."""
        pipelines = "/{organization}/{project}/_apis/pipelines"
        return {
            f"GET {pipelines}": self._list,
            f"GET {pipelines}/{{id}}": self._get,
            f"POST {pipelines}/{{id}}/preview": lambda call: self._preview(call, call.body),
            f"GET {pipelines}/{{id}}/runs": self._list_runs,
            f"GET {pipelines}/{{id}}/runs/{{run}}": self._get_run,
            f"POST {pipelines}/{{id}}/runs": self._run,
            "GET /{organization}/{project}/_apis/build/builds": self._list_builds,
        }

    def add(
        self,
        project: Json,
        name: str,
        *,
        id: int | None = None,  # noqa: A002  Azure DevOps' word
        folder: str = "\\",
        parameters: Mapping[str, Json | str | None] | None = None,
        variables: Iterable[str] = (),
        branches: Sequence[str] = ("refs/heads/main",),
        stages: Sequence[str] = ("Deploy",),
        disabled: bool = False,
    ) -> Json:
        """Add a pipeline and return it, to be changed at will.

        A parameter is its default, None where it has none, or `{"default": …, "values": […]}`; the variables are those
        that are settable at queue time; the first branch is the default one.
        """
        number = id or max(self._pipelines, default=0) + 1
        if number in self._pipelines:
            msg = f"There is a pipeline {number} already."
            raise ValueError(msg)
        self._pipelines[number] = {
            "id": number,
            "name": name,
            "folder": folder,
            "revision": 1,
            "project": project,
            "parameters": {key: _parameter(value) for key, value in (parameters or {}).items()},
            "variables": list(variables),
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
        # Without the permission the list is no error, it is empty.
        visible = [it for it in self._of(call.project) if self._allows("View build pipeline", it)]
        ordered = sorted(visible, key=lambda pipeline: (pipeline["name"].lower(), pipeline["id"]))
        first = int(call.query.get("continuationToken", 0))
        top = min(int(call.query.get("$top", _MOST_RUNS)), _MOST_RUNS)
        page = ordered[first : first + top]
        more = first + top if ordered[first + top :] else None
        return list_of([_shown(pipeline, call) for pipeline in page], more)

    def _get(self, call: Call) -> Response:
        self._require("View build pipeline", call)
        pipeline = self._pipeline(call)
        repository = {"id": "17c74b2a-0000-4000-8000-5452cb7693b8", "type": "azureReposGit"}
        configuration = {"path": "azure-pipelines.yml", "repository": repository, "type": "yaml"}
        return json_of({**_shown(pipeline, call), "configuration": configuration})

    def _list_runs(self, call: Call) -> Response:
        pipeline = self._pipeline(call)
        visible = self._runs_of(pipeline) if self._allows("View builds", pipeline) else []
        return list_of([self._told(run) for run in visible[: -_MOST_RUNS - 1 : -1]])

    def _get_run(self, call: Call) -> Response:
        self._require("View builds", call)
        for run in self._runs_of(self._pipeline(call)):
            if run["id"] == int(call.run):
                return json_of(self._told(run))
        raise Refusal(RUN_NOT_FOUND, f"A run with id {call.run} was not found.")

    def _told(self, run: Json) -> Json:
        hidden = {"validationResults", "sourceBranch"} | (
            set() if self.runs_tell_parameters else {"templateParameters"}
        )
        return {key: value for key, value in run.items() if key not in hidden}

    def _run(self, call: Call) -> Response:
        """Start a run after the checks of Azure DevOps."""
        start = call.body
        if start.get("previewRun"):
            return self._preview(call, start)
        if start.get("yamlOverride"):
            raise Refusal(INVALID_ARGUMENT, "YAML override may only be used with a preview run.")
        pipeline = self._checked(call, start)
        branch = _branch(start) or pipeline["branches"][0]
        number = max((run["id"] for run in self.runs), default=0) + 1
        project = pipeline["project"]["name"]
        address = f"{call.request.host_url}{call.organization}/{project}"
        links = call.links(project, f"pipelines/{pipeline['id']}/runs/{number}", f"_build/results?buildId={number}")
        shown = _shown(pipeline, call)
        links |= {"pipeline": {"href": shown["url"]}}
        links |= {"pipeline.web": {"href": f"{address}/_build/definition?definitionId={pipeline['id']}"}}
        created = now()
        today = created[:10].replace("-", "")
        count = sum(run["name"].startswith(today) for run in self._runs_of(pipeline))
        self.runs.append(
            {
                "_links": links,
                "id": number,
                "name": f"{today}.{count + 1}",
                "url": links["self"]["href"],
                "state": "inProgress",
                "createdDate": created,
                "pipeline": {key: shown[key] for key in ("id", "name", "folder", "revision", "url")},
                "templateParameters": dict(start.get("templateParameters") or {}),
                "variables": dict(start.get("variables") or {}),
                "resources": {
                    "repositories": {
                        "self": {"refName": branch, "repository": {"type": "azureReposGit"}, "version": "0" * 40}
                    }
                },
                # Told by the list of builds only.
                "sourceBranch": branch,
                "validationResults": [],
            }
        )
        return json_of(self._told(self.runs[-1]))

    def _preview(self, call: Call, start: Json) -> Response:
        pipeline = self._checked(call, start)
        stages = [{"stage": name, "jobs": [{"job": "Deploy"}]} for name in pipeline["stages"]]
        return json_of({"finalYaml": yaml.safe_dump({"stages": stages}, sort_keys=False)})

    def _checked(self, call: Call, start: Json) -> Json:
        self._require("Queue builds", call)
        pipeline = self._pipeline(call)
        if pipeline["disabled"]:
            raise Refusal(DISABLED, f"The build definition {pipeline['name']} is disabled.")
        _check_parameters(pipeline, start.get("templateParameters") or {})
        _check_variables(pipeline, start.get("variables") or {})
        branch = _branch(start)
        if branch and branch not in pipeline["branches"]:
            message = f"Could not find a commit of {branch} in repository self."
            raise _not_queued([f"An error occurred while loading the YAML build pipeline. {message}"])
        return pipeline

    def _list_builds(self, call: Call) -> Response:
        """List runs as builds, with the filters that a look for a run needs."""
        self._project(call.project)
        wanted = {int(number) for number in call.query.get("definitions", "").split(",") if number}
        visible = [
            self._as_build(run)
            for pipeline in self._of(call.project)
            if (not wanted or pipeline["id"] in wanted) and self._allows("View builds", pipeline)
            for run in self._runs_of(pipeline)
        ]
        found = [build for build in visible if _is_wanted_build(build, call.query)]
        descending = call.query.get("queryOrder", "").lower() != "queuetimeascending"
        ordered = sorted(found, key=_queued, reverse=descending)
        if after := call.query.get("continuationToken"):
            ordered = ordered[[str(build["id"]) for build in ordered].index(after) :]
        top = min(int(call.query.get("$top", 1000)), 5000)
        return list_of(ordered[:top], ordered[top]["id"] if ordered[top:] else None)

    def _as_build(self, run: Json) -> Json:
        told = {"templateParameters": run["templateParameters"]} if self.builds_tell_parameters else {}
        return {
            "_links": {key: run["_links"][key] for key in ("self", "web")},
            "id": run["id"],
            "buildNumber": run["name"],
            "status": run["state"],
            "queueTime": run["createdDate"],
            "definition": {"id": run["pipeline"]["id"], "name": run["pipeline"]["name"]},
            "sourceBranch": run["sourceBranch"],
            "reason": "manual",
            "tags": [],
            "triggerInfo": {},
            "validationResults": run["validationResults"],
            **told,
        }

    def _of(self, project: str) -> list[Json]:
        found = self._project(project)
        return [pipeline for pipeline in self._pipelines.values() if pipeline["project"]["id"] == found["id"]]

    def _pipeline(self, call: Call) -> Json:
        for pipeline in self._of(call.project):
            if pipeline["id"] == int(call.id):
                return pipeline
        raise Refusal(NOT_FOUND, f"Pipeline with id {call.id} was not found.")

    def _runs_of(self, pipeline: Json) -> list[Json]:
        return [run for run in self.runs if run["pipeline"]["id"] == pipeline["id"]]

    def _allows(self, permission: str, pipeline: Json | None) -> bool:
        return self._permits(permission, pipeline_token(pipeline))

    def _require(self, permission: str, call: Call) -> None:
        if not self._allows(permission, self._pipelines.get(int(call.id))):
            message = (
                f"TF215106: Access denied. Model Release needs {permission} permissions for build pipeline {call.id} "
                f"in team project {call.project} to perform the action."
            )
            raise Refusal(ACCESS_DENIED, message)


def pipeline_token(pipeline: Json | None) -> str:
    """Return what the permissions on a pipeline are kept under; nothing where there is none."""
    return token_of(pipeline["project"]["id"], pipeline["folder"], pipeline["id"]) if pipeline else ""


def _parameter(given: Json | str | None) -> Json:
    return dict(given) if isinstance(given, Mapping) else {"default": given}


def _shown(pipeline: Json, call: Call) -> Json:
    number = pipeline["id"]
    api = f"pipelines/{number}?revision={pipeline['revision']}"
    links = call.links(pipeline["project"]["id"], api, f"_build/definition?definitionId={number}")
    told = {key: pipeline[key] for key in ("id", "name", "folder", "revision")}
    return {**told, "url": links["self"]["href"], "_links": links}


def _branch(start: Json) -> str:
    resources = start.get("resources") or {}
    branch = ((resources.get("repositories") or {}).get("self") or {}).get("refName")
    return str(branch or "")


def _check_parameters(pipeline: Json, given: Json) -> None:
    declared = {name.lower(): (name, parameter) for name, parameter in pipeline["parameters"].items()}
    if unexpected := [name for name in given if name.lower() not in declared]:
        raise Refusal(NOT_VALID, "\n".join(f"Unexpected parameter '{name}'" for name in unexpected))
    values = {name.lower(): value for name, value in given.items()}
    faults = []
    for key, (name, parameter) in declared.items():
        value = values.get(key, parameter.get("default"))
        if value is None:
            faults.append(f"A value for the '{name}' parameter must be provided.")
        elif "values" in parameter and value not in parameter["values"]:
            faults.append(f"The '{name}' parameter value '{value}' is not an allowed value.")
    if faults:
        raise _not_queued(faults)


def _check_variables(pipeline: Json, given: Json) -> None:
    settable = {name.lower() for name in pipeline["variables"]}
    if fixed := [name for name in given if name.lower() not in settable]:
        message = (
            f"See https://aka.ms/AzPipelines/SettingVariablesAtQueueTime - You can't set the following variables "
            f"({','.join(fixed)}). If you want to be able to set these variables, then edit the pipeline and select "
            "Settable at queue time on the variables tab of the pipeline editor."
        )
        raise Refusal(NOT_VALID, message)


def _not_queued(faults: list[str]) -> Refusal:
    message = "Could not queue the build because there were validation errors or warnings."
    return Refusal(NOT_QUEUED, message, ValidationResults=[{"result": "error", "message": fault} for fault in faults])


def _is_wanted_build(build: Json, query: Mapping[str, str]) -> bool:
    queued, branch = _moment(build["queueTime"]), query.get("branchName")
    return (
        ("minTime" not in query or queued >= _moment(query["minTime"]))
        and ("maxTime" not in query or queued <= _moment(query["maxTime"]))
        and (branch is None or build["sourceBranch"] == branch)
    )


def _queued(build: Json) -> tuple[datetime, int]:
    return _moment(build["queueTime"]), build["id"]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

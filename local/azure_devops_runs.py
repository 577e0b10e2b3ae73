"""YAML pipelines and runs as Azure DevOps describes and validates them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import yaml

from local.azure_devops_http import Call, ErrorType, Json, Refusal, moment, now

BUILD = ("Microsoft.TeamFoundation.Build.WebApi", "Microsoft.TeamFoundation.Build2.WebApi")
PIPELINES = ("Microsoft.Azure.Pipelines.WebApi", "Microsoft.Azure.Pipelines.WebApi")
NOT_QUEUED = ErrorType("BuildRequestValidationFailedException", 400, *BUILD)
NOT_VALID = ErrorType("PipelineValidationException", 400, *PIPELINES)


def shown_pipeline(pipeline: Json, call: Call) -> Json:
    """Return what a list shows of a pipeline."""
    number = pipeline["id"]
    api = f"pipelines/{number}?revision={pipeline['revision']}"
    links = call.links(pipeline["project"]["id"], api, f"_build/definition?definitionId={number}")
    shown = {key: pipeline[key] for key in ("id", "name", "folder", "revision")}
    return {**shown, "url": links["self"]["href"], "_links": links}


def new_run(call: Call, pipeline: Json, number: int, earlier: Sequence[Json]) -> Json:
    """Describe the requested run of a pipeline."""
    request = call.body
    shown = shown_pipeline(pipeline, call)
    project = pipeline["project"]["name"]
    links = call.links(project, f"pipelines/{pipeline['id']}/runs/{number}", f"_build/results?buildId={number}")
    links["pipeline"] = {"href": shown["url"]}
    address = f"{call.request.host_url}{call.organization}/{project}"
    links["pipeline.web"] = {"href": f"{address}/_build/definition?definitionId={pipeline['id']}"}
    branch = _branch(request) or pipeline["branches"][0]
    repository = {"refName": branch, "repository": {"type": "azureReposGit"}, "version": "0" * 40}
    created = now()
    today = created[:10].replace("-", "")
    return {
        "_links": links,
        "id": number,
        "name": f"{today}.{1 + sum(run['name'].startswith(today) for run in earlier)}",
        "url": links["self"]["href"],
        "state": "inProgress",
        "createdDate": created,
        "pipeline": {key: shown[key] for key in ("id", "name", "folder", "revision", "url")},
        "templateParameters": {name: str(value) for name, value in (request.get("templateParameters") or {}).items()},
        "variables": {},
        "resources": {"repositories": {"self": repository}},
        "sourceBranch": branch,
        "reason": "manual",
        "validationResults": [],
        "timeline": _timeline(pipeline["stages"], request.get("stagesToSkip") or []),
        "approvals": [],
    }


def _timeline(stages: Sequence[str], skipped: Sequence[str]) -> list[Json]:
    left_out = {name.lower() for name in skipped}
    return [
        {
            "id": str(UUID(int=order)),
            "parentId": None,
            "type": "Stage",
            "name": name,
            "order": order,
            "state": "completed" if name.lower() in left_out else "pending",
            "result": "skipped" if name.lower() in left_out else None,
        }
        for order, name in enumerate(stages, start=1)
    ]


def add_approval(run: Json, stage: str, approval: Json) -> None:
    """Let a stage of a run wait for an approval, which is described as the list of approvals does."""
    records = run["timeline"]
    (waiting,) = (record for record in records if record["name"] == stage)
    checkpoint = {"id": str(UUID(int=100 + len(records))), "parentId": waiting["id"], "type": "Checkpoint"}
    records += [checkpoint, {"id": approval["id"], "parentId": checkpoint["id"], "type": "Checkpoint.Approval"}]
    run["approvals"].append(approval)


def as_build(run: Json, *, with_parameters: bool) -> Json:
    """Return what the list of builds shows of a run."""
    return {
        "_links": {key: run["_links"][key] for key in ("self", "web")},
        "id": run["id"],
        "buildNumber": run["name"],
        "status": run["state"],
        "queueTime": run["createdDate"],
        "definition": {"id": run["pipeline"]["id"], "name": run["pipeline"]["name"]},
        "sourceBranch": run["sourceBranch"],
        "reason": run["reason"],
        "tags": [],
        "triggerInfo": {},
        "validationResults": run["validationResults"],
        **({"templateParameters": run["templateParameters"]} if with_parameters and run["templateParameters"] else {}),
    }


Place = tuple[datetime, int]


def place_of(build: Json) -> Place:
    """Return the place of a build in the list of builds."""
    return moment(build["queueTime"]), build["id"]


def continuation_token(build: Json) -> str:
    """Return the token of the page that begins with this build: its time, the last four digits from its ID."""
    time, number = place_of(build)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}{number % 10_000:04}Z"


def place_from(token: str) -> Place:
    """Return the place where a page begins."""
    return moment(f"{token[:-5]}Z"), int(token[-5:-1])


def check_request(pipeline: Json, request: Json) -> None:
    """Raise Refusal if the pipeline cannot run with these parameters and this branch."""
    given = {name.lower(): value for name, value in (request.get("templateParameters") or {}).items()}
    declared = {name.lower(): name for name in pipeline["parameters"]}
    if unexpected := [name for name in request.get("templateParameters") or {} if name.lower() not in declared]:
        raise Refusal(NOT_VALID, "\n".join(f"Unexpected parameter '{name}'" for name in unexpected))
    stages = {name.lower() for name in pipeline["stages"]}
    if unknown := [name for name in request.get("stagesToSkip") or [] if name.lower() not in stages]:
        raise Refusal(NOT_VALID, "\n".join(f"'{name}' is not a valid stage to skip." for name in unknown))
    for name, value in (request.get("templateParameters") or {}).items():
        _check_type(name, value, pipeline["parameters"][declared[name.lower()]].get("type", "string"))
    problems = [
        f"A value for the '{name}' parameter must be provided."
        for key, name in declared.items()
        if given.get(key, pipeline["parameters"][name]["default"]) is None
    ]
    branch = _branch(request)
    if not problems and branch and branch not in pipeline["branches"]:
        message = f"Could not find a commit of {branch} in repository self."
        problems.append(f"An error occurred while loading the YAML build pipeline. {message}")
    if problems:
        message = "Could not queue the build because there were validation errors or warnings."
        results = [{"result": "error", "message": problem} for problem in problems]
        raise Refusal(NOT_QUEUED, message, ValidationResults=results)


def _check_type(name: str, value: Any, kind: str) -> None:
    if isinstance(value, (list, dict)):
        raise Refusal(NOT_VALID, f"Unable to convert from {'Array' if isinstance(value, list) else 'Object'} to String")
    if kind in _IS_VALID and not _IS_VALID[kind](str(value)):
        raise Refusal(NOT_VALID, f"The '{name}' parameter value '{value}' is not a valid {kind.title()}.")


def _is_number(value: str) -> bool:
    return bool(re.fullmatch(r"[-+]?\d+(\.\d+)?", value))


def _is_yaml(value: str) -> bool:
    try:
        yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return False
    return True


_IS_VALID: dict[str, Callable[[str], bool]] = {
    "boolean": lambda value: value.lower() in ("true", "false"),
    "number": _is_number,
    "object": _is_yaml,
}


def _branch(request: Json) -> str:
    resources = request.get("resources") or {}
    branch = ((resources.get("repositories") or {}).get("self") or {}).get("refName")
    return str(branch or "")

"""HTTP: the history and the detail of a model version, as pages and as JSON, and what a person does with a claim."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import azure.functions as func

from model_release.domain.claims import RecordedVersion, State
from model_release.domain.events import NAME, Workspace, parse
from model_release.domain.routing import match
from model_release.errors import ClaimLeasedError, RefusedError, TemporaryError
from model_release.flow import manually
from model_release.flow.start_release import StartRelease
from model_release.store.history import History
from model_release.text import shorten
from model_release.web import views
from model_release.web.history_query import read_query
from model_release.web.views import ModelVersionDetail
from triggers.http import (
    HttpError,
    answered,
    body,
    by_hand,
    is_foreign,
    json_answer,
    link,
    page,
    see_other,
    wants_json,
)
from triggers.manual import do

_MARK_SET_BACK = "mark_set_back"
_FILTERS = ("model", "state", "since", "until", "ignored")


def add_to(app: func.FunctionApp, start_release: StartRelease, history: History, *, signs_people_in: bool) -> None:
    """Add the functions `releases` and `model_version`."""

    @app.route("releases", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def releases(req: func.HttpRequest) -> func.HttpResponse:
        return answered(req, lambda: _history(req, history))

    @app.route("releases/{model}/{version}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def model_version(req: func.HttpRequest) -> func.HttpResponse:
        if req.method == "POST":
            return answered(req, lambda: _start(req, start_release, signs_people_in=signs_people_in))
        return answered(req, lambda: _model_version(req, start_release))


def _history(req: func.HttpRequest, history: History) -> func.HttpResponse:
    try:
        query = read_query(req.params)
    except ValueError as error:
        raise HttpError(400, str(error)) from error
    shown = views.history(history.page(query))
    if wants_json(req):
        return json_answer(shown)
    for entry in shown["entries"]:
        entry["detail"] = entry["version"] and entry["workspace"] and _address(req, entry)
        entry["workspace_name"] = views.source_name(entry["workspace"] or "")
    asked = {name: req.params.get(name, "") for name in _FILTERS} | {"ignored": "yes" if query.ignored else ""}
    limit = req.params.get("limit", "")
    continuation = shown["continuation"]
    return page(
        req,
        "history",
        **shown,
        asked=asked,
        filtered=any(asked.values()),
        newest=link(req, "", **asked, limit=limit) if query.continuation else "",
        next_page=link(req, "", **asked, limit=limit, continuation=continuation) if continuation else "",
        ignored_page=link(req, "", ignored="yes"),
    )


def _model_version(req: func.HttpRequest, start_release: StartRelease) -> func.HttpResponse:
    recorded = _recorded(req, start_release)
    if not recorded:
        return _not_recorded(req, start_release)
    details = [views.detail(detail, _lines(detail, start_release)) for detail in recorded]
    if wants_json(req):
        return json_answer({"model_versions": details})
    for detail in details:
        detail["workspace_name"] = detail["workspace"].rpartition("/")[2]
        detail["kind"] = "Registry" if "/registries/" in detail["workspace"] else "Workspace"
        detail["action"] = link(req, "", workspace=detail["workspace"])
        detail["pins"] = link(req, f"../../pins/{quote(detail['model'])}")
    done = req.params.get("done", "")
    return page(
        req,
        "model_version",
        details=details,
        model=details[0]["model"],
        version=details[0]["version"],
        idempotency_key=str(uuid.uuid4()),
        done=done if done in (*State, _MARK_SET_BACK) else "",
    )


def _not_recorded(req: func.HttpRequest, start_release: StartRelease) -> func.HttpResponse:
    workspaces = _workspaces(req, start_release.workspaces)
    if wants_json(req) or not workspaces:
        raise _unknown(req)
    actions = {one.name: link(req, "", workspace=one.id) for one in workspaces}
    model, version = _name(req)
    return page(req, "not_recorded", 404, model=model, version=version, actions=actions)


def _lines(detail: ModelVersionDetail, start_release: StartRelease) -> views.Lines:
    """Read the pin and the pending rows of each target of a model version."""
    lines = {(claim.partition, claim.target_digest) for claim in detail.recorded.claims}
    recorder = start_release.recorder
    return {at[1]: (recorder.marks.pin(*at), recorder.pending.of_line(*at)) for at in lines}


def _start(req: func.HttpRequest, start_release: StartRelease, *, signs_people_in: bool) -> func.HttpResponse:
    if is_foreign(req):
        raise HttpError(403, "a page of another site sent this request")
    asked = body(req)
    details = _recorded(req, start_release) or _unrecorded(req, start_release)
    if len(details) > 1:
        raise HttpError(400, f"several workspaces may have this version; set `workspace` to one of {_choices(details)}")
    try:
        who = by_hand(req, asked, signs_people_in=signs_people_in)
        entries = do(asked, who, details[0], start_release)
    except ClaimLeasedError as error:
        # Pressing a button twice shows what the first request does.
        if not wants_json(req):
            return _see(req, details[0], State.STARTING)
        raise HttpError(409, "another worker is processing this claim; try again in a moment") from error
    except RefusedError as error:
        raise HttpError(409, str(error)) from error
    except TemporaryError as error:
        raise HttpError(503, str(error)) from error
    if wants_json(req):
        return json_answer({"entries": [views.entry(one) for one in entries]})
    state = entries[0].state if entries else ""
    return _see(req, details[0], _MARK_SET_BACK if "set_mark_back" in asked else state)


def _see(req: func.HttpRequest, detail: ModelVersionDetail, done: str) -> func.HttpResponse:
    return see_other(link(req, "", workspace=detail.registered.workspace.id, done=done))


def _recorded(req: func.HttpRequest, start_release: StartRelease) -> list[ModelVersionDetail]:
    """Read the details of a model version, from each workspace that has records of it."""
    model, version = _name(req)
    details = []
    for workspace in _workspaces(req, start_release.workspaces):
        recorded = start_release.claims.recorded(workspace, model, version).get(version)
        if recorded:
            registered = replace(parse(recorded.event), workspace=workspace)
            details.append(ModelVersionDetail(registered, recorded, match(start_release.release_map, registered)))
    return details


def _unrecorded(req: func.HttpRequest, start_release: StartRelease) -> list[ModelVersionDetail]:
    """Return a version without records, in each workspace that may have it; raises HttpError if none may."""
    ours = [one for one in _workspaces(req, start_release.workspaces) if one in start_release.workspaces]
    if not ours:
        raise _unknown(req)
    nothing = RecordedVersion((), "")
    return [ModelVersionDetail(manually.unrecorded(workspace, *_name(req)), nothing, ()) for workspace in ours]


def _choices(details: Sequence[ModelVersionDetail]) -> str:
    workspaces = [detail.registered.workspace for detail in details]
    names = {one.name for one in workspaces}
    return ", ".join(sorted(names) if len(names) == len(workspaces) else [one.id for one in workspaces])


def _unknown(req: func.HttpRequest) -> HttpError:
    asked = req.params.get("workspace", "")
    where = f" in workspace {shorten(asked)}" if asked else ""
    return HttpError(404, f"{':'.join(map(shorten, _name(req)))} is not recorded{where}")


def _name(req: func.HttpRequest) -> tuple[str, str]:
    return req.route_params["model"], req.route_params["version"]


def _workspaces(req: func.HttpRequest, ours: frozenset[Workspace]) -> list[Workspace]:
    """Return the workspaces that a request means, with the letter case of the setting; none for an invalid name."""
    asked = req.params.get("workspace", "")
    found = [one for one in ours if not asked or asked.casefold() in (one.name.casefold(), one.id)]
    if asked.startswith("/") and not found:
        try:
            found = [Workspace.parse(asked)]
        except ValueError as error:
            raise HttpError(400, str(error)) from error
    return sorted(found, key=lambda one: one.id) if all(map(NAME.fullmatch, _name(req))) else []


def _address(req: func.HttpRequest, entry: Mapping[str, Any]) -> str:
    return link(req, f"releases/{quote(entry['model'])}/{quote(entry['version'])}", workspace=entry["workspace"])

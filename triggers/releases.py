"""HTTP: the history and the detail of a model version, as pages and as JSON, and what a person does with a claim."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import azure.functions as func

from model_release.domain.claims import Claim, RecordedVersion, State
from model_release.domain.events import NAME, Workspace, parse
from model_release.domain.history import HistoryEntry
from model_release.domain.routing import match
from model_release.errors import ClaimLeasedError, RefusedError, TemporaryError
from model_release.flow import manually
from model_release.flow.set_back import set_mark_back
from model_release.flow.start_release import StartRelease
from model_release.log import log_entry
from model_release.store.history import History
from model_release.text import shorten
from model_release.web import views
from model_release.web.history_query import read_query
from model_release.web.views import ModelVersionDetail
from triggers.http import HttpError, answered, body, is_foreign, json_answer, link, page, see_other, wants_json
from triggers.manual import MATCH, START, TRY, check_rate, read_action

_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9-]{8,64}")
# The texts of a person who sets the high-water mark back, and how many characters each may have.
_MOST_CHARACTERS = {"by": 100, "comment": 500}
_MARK_SET_BACK = "mark_set_back"
_FILTERS = ("model", "state", "since", "until", "ignored")


def add_to(app: func.FunctionApp, start_release: StartRelease, history: History) -> None:
    """Add the functions `releases` and `model_version`."""

    @app.route("releases", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def releases(req: func.HttpRequest) -> func.HttpResponse:
        return answered(req, lambda: _history(req, history))

    @app.route("releases/{model}/{version}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def model_version(req: func.HttpRequest) -> func.HttpResponse:
        answer = _start if req.method == "POST" else _model_version
        return answered(req, lambda: answer(req, start_release))


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
        entry["workspace_name"] = (entry["workspace"] or "").rpartition("/")[2]
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
    details = [views.detail(detail) for detail in _recorded(req, start_release)]
    if not details:
        return _not_recorded(req, start_release)
    if wants_json(req):
        return json_answer({"model_versions": details})
    for detail in details:
        detail["workspace_name"] = detail["workspace"].rpartition("/")[2]
        detail["action"] = link(req, "", workspace=detail["workspace"])
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


def _start(req: func.HttpRequest, start_release: StartRelease) -> func.HttpResponse:
    if is_foreign(req):
        raise HttpError(403, "a page of another site sent this request")
    asked = body(req)
    details = _recorded(req, start_release) or _unrecorded(req, start_release)
    if len(details) > 1:
        raise HttpError(400, f"several workspaces may have this version; set `workspace` to one of {_choices(details)}")
    try:
        entries = _do(asked, details[0], start_release)
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


def _do(asked: Mapping[str, str], detail: ModelVersionDetail, start_release: StartRelease) -> list[HistoryEntry]:
    """Start a final claim again, try a pending claim now, or match a version without a claim again.

    A restart with the key of the request that inserted the claim starts nothing.

    `set_mark_back` sets the high-water mark back to the claim's version and starts nothing.
    """
    if "set_mark_back" in asked:
        return _set_mark_back(asked, detail, start_release)
    action, idempotency_key = read_action(asked), asked.get("idempotency_key", "")
    if idempotency_key and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise HttpError(400, "`idempotency_key` is not 8 to 64 letters, digits and '-'; use a new one for each restart")
    event_id = f"started manually: {idempotency_key}"
    if action == MATCH:
        event = detail.registered
        return start_release.match_again(replace(event, id=event_id) if idempotency_key else event)
    claim = _claim(asked["claim"], detail)
    if (action == TRY and claim.state.final) or claim.event_id == event_id:
        return [HistoryEntry.of(claim)]
    if action == START and not claim.state.final:
        raise HttpError(409, f"this claim is {claim.state}; to try it now, set `action` to 'try'")
    check_rate(claim, detail.recorded.claims, idempotency_key, start_release.recorder.clock())
    if action == TRY:
        return start_release.try_now(claim, by_hand=True)
    return start_release.restart(claim, idempotency_key)


def _set_mark_back(
    asked: Mapping[str, str], detail: ModelVersionDetail, start_release: StartRelease
) -> list[HistoryEntry]:
    """Set the high-water mark back to the version of the claim; raises HttpError with every problem of the request."""
    problems = []
    if asked["set_mark_back"] != "yes":
        problems.append(f"set_mark_back: {shorten(asked['set_mark_back'])!r} is not 'yes'")
    if not asked.get("claim"):
        problems.append("`set_mark_back` needs the `claim` of the version")
    if "idempotency_key" in asked:
        problems.append("`set_mark_back` starts nothing; leave out `idempotency_key`")
    texts = {name: asked.get(name, "").strip() for name in _MOST_CHARACTERS}
    for name, most in _MOST_CHARACTERS.items():
        if not (texts[name].isprintable() and 1 <= len(texts[name]) <= most):
            problems.append(f"{name}: {shorten(texts[name])!r} is not 1 to {most} printable characters")
    if problems:
        raise HttpError(400, "; ".join(problems))
    entries = set_mark_back(_claim(asked["claim"], detail), texts["by"], texts["comment"], start_release)
    return [log_entry(entry) for entry in entries]


def _claim(key: str, detail: ModelVersionDetail) -> Claim:
    for claim in detail.recorded.claims:
        if claim.key == key:
            return claim
    raise HttpError(404, f"{detail.registered.model}:{detail.registered.version} has no claim {shorten(key)}")


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

"""HTTP: the history and the detail of a model version, as pages and as JSON, and what a person does with a claim."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import azure.functions as func

from model_release.domain.history import HistoryPage, HistoryQuery
from model_release.errors import ClaimLeasedError, RefusedError, TemporaryError
from model_release.flow.start_release import StartRelease
from model_release.web import views
from model_release.web.history_query import FILTERS, read_query
from model_release.web.records import Records
from model_release.web.views import ModelVersionDetail
from triggers.http import (
    HttpError,
    answered,
    body,
    by_hand,
    is_asked,
    json_answer,
    link,
    page,
    see_other,
    wants_json,
)
from triggers.links import detail_address, name_of, read_details, studio_address, unknown, unrecorded, workspaces_of
from triggers.manual import do

# For so long the page confirms what a person did.
_LATELY = timedelta(minutes=10)


def add_to(app: func.FunctionApp, start_release: StartRelease, records: Records, *, signs_people_in: bool) -> None:
    """Add the functions `releases` and `model_version`."""

    @app.route("releases", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def releases(req: func.HttpRequest) -> func.HttpResponse:
        return answered(req, lambda: _history(req, records), records)

    @app.route("releases/{model}/{version}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def model_version(req: func.HttpRequest) -> func.HttpResponse:
        if req.method == "POST":
            return answered(req, lambda: _start(req, start_release, records, signs_people_in=signs_people_in), records)
        return answered(req, lambda: _model_version(req, start_release, records), records)


def _history(req: func.HttpRequest, records: Records) -> func.HttpResponse:
    query, problem = HistoryQuery(), ""
    try:
        query = read_query(req.params)
        found = records.history.page(query)
    except ValueError as error:
        if wants_json(req):
            raise HttpError(400, str(error)) from error
        found, problem = HistoryPage((), ""), str(error)
    shown = views.history(found, records.operations_url)
    if wants_json(req):
        return json_answer(shown)
    for entry in shown["entries"]:
        entry["detail"] = detail_address(req, entry, records)
    asked = {name: req.params.get(name, "") for name in FILTERS}
    limit = req.params.get("limit", "")
    continuation = shown["continuation"]
    return page(
        req,
        "history",
        400 if problem else 200,
        records,
        refreshes=any(entry["next_attempt"] for entry in shown["entries"]),
        **shown,
        asked=asked,
        filtered=any(asked.values()),
        problem=problem,
        newest=link(req, "", **asked, limit=limit) if query.continuation else "",
        next_page=link(req, "", **asked, limit=limit, continuation=continuation) if continuation else "",
        ignored_page=link(req, "", ignored="yes"),
    )


def _model_version(req: func.HttpRequest, start_release: StartRelease, records: Records) -> func.HttpResponse:
    found = read_details(req, start_release, records)
    if not found:
        return _not_recorded(req, start_release, records)
    details = [views.detail(detail, _lines(detail, start_release), records.operations_url) for detail in found]
    if is_asked(req, "outcome"):
        _add_outcomes(details, found, records)
    if wants_json(req):
        until = records.throttle.pause_until()
        return json_answer({"model_versions": details, "throttled_until": until and views.time_text(until)})
    for detail in details:
        detail["workspace_name"] = detail["workspace"].rpartition("/")[2]
        detail["kind"] = "Registry" if "/registries/" in detail["workspace"] else "Workspace"
        detail["action"] = link(req, "", workspace=detail["workspace"])
        detail["pins"] = link(req, f"../../pins/{quote(detail['model'])}")
        detail["studio"] = studio_address(detail)
    done = req.params.get("done", "")
    claims = [claim for detail in details for claim in detail["claims"]]
    return page(
        req,
        "model_version",
        200,
        records,
        refreshes=any(not claim["final"] for claim in claims),
        details=details,
        model=details[0]["model"],
        version=details[0]["version"],
        versions_page=link(req, "../../releases", model=details[0]["model"]),
        outcome_page=link(req, "", workspace=req.params.get("workspace", ""), outcome="yes"),
        idempotency_key=str(uuid.uuid4()),
        # An address names the claim only: what is confirmed is read from the records.
        done=[claim for claim in claims if claim["claim"] == done],
        acts=_acts(found, records) if done else [],
    )


def _not_recorded(req: func.HttpRequest, start_release: StartRelease, records: Records) -> func.HttpResponse:
    workspaces = workspaces_of(req, start_release.workspaces)
    if wants_json(req) or not workspaces:
        raise unknown(req)
    model, version = name_of(req)
    return page(
        req,
        "not_recorded",
        404,
        records,
        model=model,
        version=version,
        versions_page=link(req, "../../releases", model=model),
        actions={one.name: link(req, "", workspace=one.id) for one in workspaces},
    )


def _lines(detail: ModelVersionDetail, start_release: StartRelease) -> views.Lines:
    """Read the pin and the pending rows of each target of a model version."""
    lines = {(claim.partition, claim.target_digest) for claim in detail.recorded.claims}
    recorder = start_release.recorder
    return {at[1]: (recorder.marks.pin(*at), recorder.pending.of_line(*at)) for at in lines}


def _add_outcomes(details: list[dict[str, Any]], found: list[ModelVersionDetail], records: Records) -> None:
    claims = [claim for detail in found for claim in detail.recorded.claims]
    outcomes = records.outcomes.read(claims, records.throttle.pause_until())
    for detail in details:
        for claim in detail["claims"]:
            claim["outcome"] = outcomes.get(claim["claim"])


def _acts(details: list[ModelVersionDetail], records: Records) -> list[str]:
    """Return what persons did with a model version lately, apart from starts."""
    registered = details[0].registered
    query = HistoryQuery(model=registered.model, since=records.clock() - _LATELY, limit=1000)
    entries = records.history.page(query).entries
    return [entry.reason for entry in entries if entry.subject == registered.subject and not entry.attempt]


def _start(
    req: func.HttpRequest, start_release: StartRelease, records: Records, *, signs_people_in: bool
) -> func.HttpResponse:
    asked = body(req)
    details = read_details(req, start_release, records) or unrecorded(req, start_release)
    if len(details) > 1:
        raise HttpError(400, f"several workspaces may have this version; set `workspace` to one of {_choices(details)}")
    try:
        who = by_hand(req, asked, signs_people_in=signs_people_in)
        entries = do(asked, who, details[0], start_release)
    except ClaimLeasedError as error:
        # Pressing a button twice shows what the first request does.
        if not wants_json(req):
            return _see(req, details[0], asked.get("claim", ""))
        raise HttpError(409, "another worker is processing this claim; try again in a moment") from error
    except RefusedError as error:
        raise HttpError(409, str(error)) from error
    except TemporaryError as error:
        raise HttpError(503, str(error)) from error
    if wants_json(req):
        return json_answer({"entries": [views.entry(one, records.operations_url) for one in entries]})
    return _see(req, details[0], entries[0].claim if entries else "")


def _see(req: func.HttpRequest, detail: ModelVersionDetail, done: str) -> func.HttpResponse:
    return see_other(link(req, "", workspace=detail.registered.workspace.id, done=done))


def _choices(details: Sequence[ModelVersionDetail]) -> str:
    workspaces = [detail.registered.workspace for detail in details]
    names = {one.name for one in workspaces}
    return ", ".join(sorted(names) if len(names) == len(workspaces) else [one.id for one in workspaces])

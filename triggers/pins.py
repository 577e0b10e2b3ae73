"""HTTP: the pins of a model, as JSON, and what a person does with them."""

from collections.abc import Mapping
from urllib.parse import quote

import azure.functions as func

from model_release.domain.events import NAME
from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError, RefusedError
from model_release.flow.steer import LineNow, pin_what_is_out, read_lines, unpin
from model_release.flow.sweep import Sweep
from model_release.text import shorten
from model_release.web import views
from model_release.web.records import Records
from triggers.http import (
    HttpError,
    answered,
    body,
    by_hand,
    json_answer,
    link,
    problems_of,
    see_other,
    wants_json,
)

_ACTIONS = {"pin": ("yes",), "unpin": ("yes", "keep")}
_WHERE = {"workspace": "in workspace", "target": "on"}


def add_to(app: func.FunctionApp, sweep: Sweep, records: Records, *, signs_people_in: bool) -> None:
    """Add the function `pins`."""

    @app.route("pins/{model}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def pins(req: func.HttpRequest) -> func.HttpResponse:
        if req.method == "POST":
            return answered(req, lambda: _steer(req, sweep, records, signs_people_in=signs_people_in), records)
        return answered(
            req, lambda: json_answer({"lines": [views.line(one) for one in _lines(req, req.params, sweep)]}), records
        )


def _lines(req: func.HttpRequest, asked: Mapping[str, str], sweep: Sweep) -> list[LineNow]:
    """Read the lines of the model, in the workspace and at the target that are asked for; raises HttpError if none."""
    start_release, model = sweep.start_release, req.route_params["model"]
    workspace, target = asked.get("workspace", "").casefold(), asked.get("target", "").casefold()
    lines = [
        line
        for ours in sorted(start_release.workspaces, key=lambda one: one.id)
        if NAME.fullmatch(model) and workspace in ("", ours.id, ours.name.casefold())
        for line in read_lines(ours, model, start_release.recorder)
        if target in ("", str(line.newest.target).casefold())
    ]
    if not lines:
        where = "".join(f" {word} {shorten(asked[name])}" for name, word in _WHERE.items() if asked.get(name))
        raise HttpError(404, f"{shorten(model)} has no claim{where}")
    return lines


def _steer(req: func.HttpRequest, sweep: Sweep, records: Records, *, signs_people_in: bool) -> func.HttpResponse:
    asked = body(req)
    who = by_hand(req, asked, signs_people_in=signs_people_in)
    if problems := _problems(asked) + problems_of(who, least=1):
        raise HttpError(400, "; ".join(problems))
    lines = _lines(req, asked, sweep)
    if len(lines) > 1:
        raise HttpError(400, "the model has several lines; set `workspace` and `target` to those of one of them")
    line = lines[0]
    if asked.get("since", views.since(line.pin)) != views.since(line.pin):
        raise HttpError(409, "another person has changed the pin meanwhile; read it again")
    try:
        if "pin" in asked:
            entries = pin_what_is_out(line, who, sweep.start_release)
        else:
            entries = unpin(line, who, sweep, keep=asked["unpin"] == "keep")
    except ClaimLeasedError as error:
        raise HttpError(409, "another worker is processing a claim of this line; try again in a moment") from error
    except RefusedError as error:
        raise HttpError(409, str(error)) from error
    if wants_json(req):
        return json_answer({"entries": [views.entry(one, records.operations_url) for one in entries]})
    return _see(req, entries)


def _problems(asked: Mapping[str, str]) -> list[str]:
    chosen = [name for name in _ACTIONS if name in asked]
    if len(chosen) != 1:
        return ["set either `pin` or `unpin`"]
    (name,) = chosen
    allowed = _ACTIONS[name]
    return (
        [] if asked[name] in allowed else [f"{name}: {shorten(asked[name])!r} is not {' or '.join(map(repr, allowed))}"]
    )


def _see(req: func.HttpRequest, entries: list[HistoryEntry]) -> func.HttpResponse:
    model, version = entries[0].model_version
    return see_other(link(req, f"../releases/{quote(model)}/{quote(version)}", workspace=entries[0].workspace))

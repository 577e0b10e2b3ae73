"""HTTP: the history as a page and as JSON, and starting again."""

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import azure.functions as func

from model_release.domain.claims import Claim, Decision, State
from model_release.domain.events import NAME, Workspace, parse, shorten
from model_release.domain.release_map import judge
from model_release.errors import ClaimHeld, Refused
from model_release.flow.start_release import StartRelease
from model_release.store.history import History, Wanted
from model_release.web import views
from model_release.web.views import Story
from triggers.http import Problem, answered, body, is_foreign, json_answer, link, page, wants_json

_WISH = re.compile(r"[A-Za-z0-9-]{8,64}")
_FILTERS = ("model", "state", "since", "until", "ignored")


def add_to(app: func.FunctionApp, start_release: StartRelease, history: History) -> None:
    """Add the functions `releases` and `model_version`."""

    @app.route("releases", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def releases(req: func.HttpRequest) -> func.HttpResponse:
        return answered(req, lambda: _history(req, history))

    @app.route("releases/{model}/{version}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def model_version(req: func.HttpRequest) -> func.HttpResponse:
        answer = _start if req.method == "POST" else _story
        return answered(req, lambda: answer(req, start_release))


def _history(req: func.HttpRequest, history: History) -> func.HttpResponse:
    try:
        wanted = Wanted.read(req.params)
    except ValueError as error:
        raise Problem(400, str(error)) from error
    shown = views.history(history.page(wanted))
    if wants_json(req):
        return json_answer(shown)
    for line in shown["decisions"]:
        line["story"] = line["version"] and line["workspace"] and _address(req, line)
        line["place"] = (line["workspace"] or "").rpartition("/")[2]
    asked = {name: req.params.get(name, "") for name in _FILTERS} | {"ignored": "yes" if wanted.ignored else ""}
    count = req.params.get("count", "")
    return page(
        req,
        "history",
        **shown,
        asked=asked,
        filtered=any(asked.values()),
        newest=link(req, "", **asked, count=count) if wanted.place else "",
        older_page=link(req, "", **asked, count=count, place=shown["older"]) if shown["older"] else "",
        ignored_page=link(req, "", ignored="yes"),
    )


def _story(req: func.HttpRequest, start_release: StartRelease) -> func.HttpResponse:
    stories = [views.story(story) for story in _stories(req, start_release)]
    if wants_json(req):
        return json_answer({"stories": stories})
    for story in stories:
        story["workspace_name"] = story["workspace"].rpartition("/")[2]
        story["action"] = link(req, "", workspace=story["workspace"])
    done = req.params.get("done", "")
    return page(
        req,
        "story",
        stories=stories,
        model=stories[0]["model"],
        version=stories[0]["version"],
        wish=str(uuid.uuid4()),
        done=done if done in [state.value for state in State] else "",
    )


def _start(req: func.HttpRequest, start_release: StartRelease) -> func.HttpResponse:
    if is_foreign(req):
        raise Problem(403, "this request was made by a page of another site")
    asked = body(req)
    stories = _stories(req, start_release)
    if len(stories) > 1:
        raise Problem(400, "several workspaces have this model version: name one as `workspace`")
    try:
        decisions = _do(asked, stories[0], start_release)
    except ClaimHeld as error:
        # Who presses a button twice is shown what the first press is at.
        if not wants_json(req):
            return _see(req, stories[0], State.STARTING)
        raise Problem(409, "this claim is in other hands: what becomes of it is told in a moment") from error
    except Refused as error:
        raise Problem(409, str(error)) from error
    if wants_json(req):
        return json_answer({"decisions": [views.decision(one) for one in decisions]})
    return _see(req, stories[0], decisions[0].state if decisions else "")


def _see(req: func.HttpRequest, story: Story, done: str) -> func.HttpResponse:
    place = link(req, "", workspace=story.workspace.id, done=done)
    return func.HttpResponse(status_code=303, headers={"Location": place})


def _do(asked: Mapping[str, str], story: Story, start_release: StartRelease) -> list[Decision]:
    """Start again with a wish, without one try a claim now that waits, without a claim ask the map again."""
    key, wish = asked.get("claim", ""), asked.get("wish", "")
    if wish and not key:
        raise Problem(400, "a `wish` goes with the `claim` that it starts again")
    if not key:
        return start_release.registered(story.known.event)
    claim = _claim(key, story)
    if not wish:
        return [Decision.of(claim)] if claim.state.final else start_release.try_now(claim)
    if not _WISH.fullmatch(wish):
        raise Problem(400, "`wish` is 8 to 64 letters, digits and '-', new for each release that is wanted")
    if not claim.state.final:
        raise Problem(409, f"this claim is {claim.state}: it can be tried now, without a `wish`")
    return [start_release.again(claim, wish)]


def _claim(key: str, story: Story) -> Claim:
    for claim in story.known.claims:
        if claim.key == key:
            return claim
    raise Problem(404, f"{story.model} {story.version} has no claim {shorten(key)}")


def _stories(req: func.HttpRequest, start_release: StartRelease) -> list[Story]:
    model, version = req.route_params["model"], req.route_params["version"]
    found = []
    asked = req.params.get("workspace", "")
    named = NAME.fullmatch(model) and NAME.fullmatch(version)
    for workspace in _workspaces(asked, start_release.workspaces) if named else ():
        known = start_release.ledger.known(workspace, model, version).get(version)
        if known:
            verdicts = judge(start_release.release_map, parse(known.event))
            found.append(Story(workspace, model, version, known, verdicts))
    if not found:
        where = f" in workspace {shorten(asked)}" if asked else ""
        raise Problem(404, f"nothing is known of {shorten(model)} {shorten(version)}{where}")
    return found


def _workspaces(asked: str, ours: frozenset[Workspace]) -> list[Workspace]:
    if asked.startswith("/"):
        try:
            return [Workspace.parse(asked)]
        except ValueError as error:
            raise Problem(400, str(error)) from error
    wanted = (one for one in ours if not asked or one.name.casefold() == asked.casefold())
    return sorted(wanted, key=lambda one: one.id)


def _address(req: func.HttpRequest, line: Mapping[str, Any]) -> str:
    return link(req, f"releases/{quote(line['model'])}/{quote(line['version'])}", workspace=line["workspace"])

"""HTTP: what is released where, as a page and as JSON."""

import azure.functions as func
from azure.core.exceptions import ResourceModifiedError

from model_release.domain.claims import State
from model_release.web import overview as views
from model_release.web.history_query import TARGET_FILTERS, read_query
from model_release.web.records import Records
from triggers.http import HttpError, answered, body, json_answer, link, page, wants_json
from triggers.links import detail_address


def add_to(app: func.FunctionApp, records: Records) -> None:
    """Add the function `targets`."""

    @app.route("targets", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
    def targets(req: func.HttpRequest) -> func.HttpResponse:
        answer = _rebuild if req.method == "POST" else _targets
        return answered(req, lambda: answer(req, records), records)


def _targets(req: func.HttpRequest, records: Records) -> func.HttpResponse:
    problem = ""
    try:
        query = read_query(req.params, TARGET_FILTERS)
        shown = views.targets(records.overview.read(), query, records.operations_url)
    except ValueError as error:
        if wants_json(req):
            raise HttpError(400, str(error)) from error
        shown, problem = {"targets": [], "continuation": None}, str(error)
    if wants_json(req):
        return json_answer(shown | {"attention": records.attention()})
    for target in shown["targets"]:
        target["history"] = link(req, "releases", model=target["model"])
        for entry in (target["started"], *target["others"]):
            if entry:
                entry["detail"] = detail_address(req, entry, records)
    asked = {name: req.params.get(name, "") for name in TARGET_FILTERS}
    continuation = shown["continuation"]
    return page(
        req,
        "targets",
        400 if problem else 200,
        records,
        refreshes=any(target["attention"] in ("person", "pending") for target in shown["targets"]),
        **shown,
        asked=asked,
        filtered=any(asked.values()),
        problem=problem,
        ignored_page=link(req, "releases", state=State.IGNORED),
        first=link(req, "", **asked) if req.params.get("continuation") else "",
        next_page=link(req, "", **asked, continuation=continuation) if continuation else "",
    )


def _rebuild(req: func.HttpRequest, records: Records) -> func.HttpResponse:
    if body(req) != {"rebuild": "yes"}:
        raise HttpError(400, 'the body is not {"rebuild": "yes"}')
    try:
        return json_answer({"lines": records.overview.rebuild()})
    except ResourceModifiedError as error:
        raise HttpError(409, "the sweep has changed the overview meanwhile; try again") from error

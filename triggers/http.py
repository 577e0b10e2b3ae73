"""What the HTTP functions share: who asks, in which form, and answers as a page or as JSON."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import azure.functions as func
from azure.core.exceptions import AzureError

from model_release.domain.events import shorten


class Problem(Exception):  # noqa: N818  an answer, not an error of ours
    """An answer that is not what was asked for."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


def answered(request: func.HttpRequest, answer: Callable[[], func.HttpResponse]) -> func.HttpResponse:
    """The answer, or the problem in the form that was asked for."""
    try:
        return answer()
    except Problem as problem:
        status, error = problem.status, str(problem)
    except AzureError as failure:
        status, error = 503, f"storage does not answer: {shorten(str(failure))}"
    if wants_json(request):
        return json_answer({"error": error}, status)
    title = "Nothing was started" if request.method == "POST" else "This cannot be shown"
    return page(request, "problem", status, title=title, error=error)


def wants_json(request: func.HttpRequest) -> bool:
    """Whether JSON was asked for, and not a page."""
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def is_foreign(request: func.HttpRequest) -> bool:
    """Whether a page of another site made this request; who is no browser sends neither header.

    https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return bool(origin) and origin.partition("://")[2] != urlsplit(request.url).netloc


def body(request: func.HttpRequest) -> dict[str, str]:
    """The fields of a form or of a JSON object; raises Problem."""
    try:
        text = request.get_body().decode()
        if request.headers.get("Content-Type", "").startswith("application/json"):
            given = json.loads(text or "{}").items()
            return {name: str(value) for name, value in given if value is not None}
        return dict(parse_qsl(text))
    except (ValueError, AttributeError, RecursionError) as error:
        raise Problem(400, "the body is neither a form nor a JSON object") from error


def link(request: func.HttpRequest, path: str, **values: str) -> str:
    """A relative address; who came with a key in the address goes on with it."""
    if path and urlsplit(request.url).path.endswith("/"):
        path = f"../{path}"
    given = {name: value for name, value in values.items() if value}
    if code := request.params.get("code"):
        given["code"] = code
    return f"{path}?{urlencode(given)}" if given else path or "?"


def json_answer(value: object, status: int = 200) -> func.HttpResponse:
    """The value as JSON."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return func.HttpResponse(json.dumps(value), status_code=status, headers=headers, mimetype="application/json")


def page(request: func.HttpRequest, name: str, status: int = 200, **values: Any) -> func.HttpResponse:
    """The page of that name."""
    # Most processes never show a page, and Jinja takes its time to load.
    from model_release.web import pages  # noqa: PLC0415

    home = link(request, "../../releases" if request.route_params else "releases")
    text = pages.render(name, home=home, code=request.params.get("code", ""), **values)
    return func.HttpResponse(text, status_code=status, headers=pages.HEADERS, mimetype="text/html", charset="utf-8")

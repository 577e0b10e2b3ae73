"""HTTP: how requests are read and answered, as a page or as JSON."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import azure.functions as func
from azure.core.exceptions import AzureError

from model_release.domain.claims import State
from model_release.domain.history import ByHand
from model_release.errors import ConfigurationError
from model_release.log import safe_failure
from model_release.session import origin
from model_release.text import shorten
from model_release.web.records import Records, storage_problem

# The texts of a person, and how many characters each may have.
_MOST_CHARACTERS = {"by": 100, "comment": 500}
_REFRESH_SECONDS = "30"
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_NO_STORE = {"Cache-Control": "no-store"}


class HttpError(Exception):
    """A request is answered with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answered(request: func.HttpRequest, answer: Callable[[], func.HttpResponse], records: Records) -> func.HttpResponse:
    """Return the answer, or the error in the requested form."""
    with safe_failure():
        try:
            return _answered(request, answer, records)
        except ConfigurationError as wrong:
            return _cannot_start(request, wrong)


def _answered(
    request: func.HttpRequest, answer: Callable[[], func.HttpResponse], records: Records | None
) -> func.HttpResponse:
    nothing_started = request.method == "POST"
    try:
        return answer()
    except HttpError as problem:
        status, error = problem.status, str(problem)
    except AzureError as failure:
        # If storage fails after a release was created, the claim shows it later.
        status, error, nothing_started = 503, storage_problem(failure), False
        # Another question to the same storage would double the time of the answer.
        records = None
    if wants_json(request):
        return json_answer({"error": error}, status)
    title = "Nothing was started" if nothing_started else "This page is not available"
    return page(request, "error", status, records, title=title, error=error)


def _cannot_start(request: func.HttpRequest, wrong: ConfigurationError) -> func.HttpResponse:
    if wants_json(request):
        return json_answer({"error": str(wrong)}, 503)
    return page(request, "cannot_start", 503, None, faults=wrong.faults)


def wants_json(request: func.HttpRequest) -> bool:
    """Whether the request accepts JSON and not HTML."""
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def is_asked(request: func.HttpRequest, name: str) -> bool:
    """Whether a parameter is `yes`; raises HttpError unless it is `yes`, `no` or missing."""
    given = request.params.get(name, "no")
    if given not in ("yes", "no"):
        raise HttpError(400, f"{name}: {shorten(given)!r} is not 'yes' or 'no'")
    return bool(given == "yes")


def body(request: func.HttpRequest) -> dict[str, str]:
    """Read the fields of a form or of a JSON object; raises HttpError, also if a page of another site sent them.

    The host passes on a body in chunks as an empty one.
    """
    _refuse_foreign(request)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    content = request.get_body()
    if not content:
        raise HttpError(400, "the body is empty; send a form or a JSON object, with a Content-Length")
    if kind not in (_JSON, _FORM):
        raise HttpError(415, f"Content-Type: {shorten(kind)!r} is not {_JSON!r} or {_FORM!r}")
    try:
        text = content.decode()
        if kind == _JSON:
            return {name: str(value) for name, value in json.loads(text).items() if value is not None}
        return dict(parse_qsl(text))
    except (ValueError, AttributeError, RecursionError) as error:
        raise HttpError(400, "the body is not a form or a JSON object") from error


def _refuse_foreign(request: func.HttpRequest) -> None:
    """Raise HttpError if a page of another site sent this request; programs other than browsers send neither header.

    https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    site, sender = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign_site = site and site not in ("same-origin", "none")
    if foreign_site or (sender and origin(sender) != origin(request.url)):
        raise HttpError(403, "a page of another site sent this request")


def by_hand(request: func.HttpRequest, asked: Mapping[str, str], *, signs_people_in: bool) -> ByHand:
    """Read who asks, and why; the platform's name of the person has precedence if it signs people in.

    Otherwise this header comes from the caller, as the field `by` does.
    https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
    """
    headers = (request.headers.get(f"X-MS-CLIENT-PRINCIPAL-{name}", "") for name in ("NAME", "ID"))
    principal = next(filter(None, headers), "").strip()
    verified = signs_people_in and bool(principal)
    stated = asked.get("by", "").strip() or principal
    return ByHand(principal if verified else stated, verified, asked.get("comment", "").strip())


def problems_of(who: ByHand, *, least: int = 0) -> list[str]:
    """Return what is wrong with the texts of a person; each has at least so many characters."""
    texts = {"by": who.by, "comment": who.comment}
    return [
        f"{name}: {shorten(text)!r} is not {least} to {_MOST_CHARACTERS[name]} printable characters"
        for name, text in texts.items()
        if not (not text or text.isprintable()) or not least <= len(text) <= _MOST_CHARACTERS[name]
    ]


def link(request: func.HttpRequest, path: str, **values: str) -> str:
    """Build a relative address; a key in the address of the request is kept."""
    if path and urlsplit(request.url).path.endswith("/"):
        path = f"../{path}"
    query = {name: value for name, value in values.items() if value}
    if code := request.params.get("code"):
        query["code"] = code
    return f"{path}?{urlencode(query, safe='=/')}" if query else path or "?"


def json_answer(value: object, status: int = 200) -> func.HttpResponse:
    """Answer with JSON."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
    return func.HttpResponse(json.dumps(value), status_code=status, headers=headers, mimetype="application/json")


def page(
    request: func.HttpRequest,
    name: str,
    status: int,
    records: Records | None,
    *,
    refreshes: bool = False,
    **values: Any,
) -> func.HttpResponse:
    """Answer with a page; one that `refreshes` does so until a person pauses it."""
    # Most processes never show a page, and Jinja is slow to import.
    from model_release.web import pages  # noqa: PLC0415

    is_paused = request.params.get("refresh") == "no"
    root = "../../" if request.route_params else ""
    text = pages.render(
        name,
        code=request.params.get("code", ""),
        now=records.clock() if records else datetime.now(UTC),
        versions=records.versions if records else {},
        strip=_attention(request, records, root),
        active={"targets": "Now", "history": "History"}.get(name, ""),
        tabs={"Now": link(request, f"{root}targets"), "History": link(request, f"{root}releases")},
        refresh=("paused" if is_paused else "running") if refreshes else "",
        switch_refresh=link(request, "", **{**request.params, "refresh": "" if is_paused else "no"}),
        **values,
    )
    headers = pages.HEADERS | (_NO_STORE if "code" in request.params else {})
    headers |= {"Refresh": _REFRESH_SECONDS} if refreshes and not is_paused else {}
    return func.HttpResponse(text, status_code=status, headers=headers, mimetype="text/html", charset="utf-8")


def _attention(request: func.HttpRequest, records: Records | None, root: str) -> dict[str, Any] | None:
    """Return what needs attention, with the page of each count; None if it cannot be read."""
    try:
        found = records.attention() if records else None
    except AzureError:
        return None
    if found is None:
        return None
    releases, targets = f"{root}releases", f"{root}targets"
    counts = [
        # The history keeps abandoned versions that were started again.
        (state, count, link(request, targets if state == State.ABANDONED else releases, state=state))
        for state, count in found["counts"].items()
    ]
    counts.append(("pinned", found["pinned"], link(request, targets, pinned="yes")))
    throttle, health = link(request, releases, state=State.WAITING), link(request, f"{root}health")
    return found | {"counts": [one for one in counts if one[1]], "throttle": throttle, "health": health}


def see_other(location: str) -> func.HttpResponse:
    """Redirect to a page after a change; the address may contain a key."""
    return func.HttpResponse(status_code=303, headers={"Location": location, "Vary": "Accept", **_NO_STORE})

"""The meaning of an answer, or of none: may something have been created, and why not (pure)."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

import requests
import urllib3.exceptions
from msrest.exceptions import ClientException, ClientRequestError

from model_release.domain.targets import Approval, Created
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError
from model_release.reason import ReasonKind
from model_release.session import OtherServerError
from model_release.text import network_reason, shorten

_MOST_LINES = 10
_LONGEST_PAUSE_SECONDS = 3600
# Not SSLError, which is also raised while an answer is read.
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
# The SDK appends these sentences to the text of an answer, or to nothing.
_SDK_SENTENCES = re.compile(
    r"\s*(Operation returned a \d+ status code\.|The requested resource requires user authentication: .*)"
)
# Azure DevOps answers some refusals with status 500, such as the preview of a pipeline that does not exist.
_REFUSALS = re.compile(r"NotFound|DoesNotExist|Validation(Failed)?Exception|AccessDenied|Unauthorized")
_NOT_IN_A_LINK = re.compile(r"""[^!-~]|[\\"'<>`{|}^]|\.\.|%2e""", re.IGNORECASE)
_SIGN_IN_FIX = "renew the token, or add the identity to the organization"


def meaning_of(
    error: Exception, answer: requests.Response | None, unproven: type[AzureDevOpsError], timeout: float
) -> AzureDevOpsError:
    """Return `unproven` unless the error or the last answer proves more; `timeout` is in seconds."""
    if type(error) is ClientRequestError or isinstance(error, OSError):
        return _no_answer(getattr(error, "inner_exception", None) or error, unproven, timeout)
    if answer is None:
        return unproven("the request to Azure DevOps failed: the answer cannot be read")
    status, pause = answer.status_code, retry_after(answer)
    content = _content(answer)
    words = _words(error, content)
    details = f": {words}" if words else ""
    if status == requests.codes.too_many_requests:
        problem = f"Azure DevOps is throttling requests (429){details}"
        return TemporaryError(problem, kind=ReasonKind.THROTTLED, retry_after=pause, answered=True)
    if status in (203, 401) or 300 <= status < 400:  # noqa: PLR2004  the class of HTTP statuses
        return _sign_in_refused(answer, words)
    if status < 300:  # noqa: PLR2004
        details = f": {network_reason(error) or 'the answer cannot be read'}"
    is_client_error = 400 <= status < 500 and status != requests.codes.request_timeout  # noqa: PLR2004
    if is_client_error or _REFUSALS.search(_type_key(content)):
        return RefusedError(words) if words else _refused_without_words(status)
    return unproven(f"Azure DevOps answered {status}{details}", retry_after=pause, answered=True)


def retry_after(answer: requests.Response) -> timedelta | None:
    """Return the pause that Azure DevOps asks for, at most an hour."""
    seconds = answer.headers.get("Retry-After", "")
    # Unlike int, float reads any number of digits.
    return (
        timedelta(seconds=min(float(seconds), _LONGEST_PAUSE_SECONDS))
        if seconds.isascii() and seconds.isdecimal()
        else None
    )


def created(answer: Any, name: str | None, organization: str, page: str) -> Created:
    """Read a release or a run; raises ValueError if the answer contains none.

    `page` is the address of its web page in the organization, with `{}` in the place of the ID, for an answer without a
    link to the organization.
    """
    if type(answer.id) is not int or answer.id <= 0:
        raise ValueError("the answer contains no release and no run")
    links = getattr(answer._links, "additional_properties", None) or {}  # noqa: SLF001  it is public in the REST API
    url = str((links.get("web") or {}).get("href") or "")
    return Created(answer.id, shorten(name or ""), url if _is_below(url, organization) else page.format(answer.id))


def status_words(status: Any) -> str:
    """Write a status of Azure DevOps as separate words, such as "not started"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", shorten(str(status or "unknown"))).lower()


def approval(name: str | None, status: Any) -> Approval:
    """Read the answer of the person or group with this name."""
    return Approval(shorten(name or "unknown"), status_words(status))


def _is_below(url: str, organization: str) -> bool:
    """Whether an address is one of the organization; others may lead anywhere."""
    return url.lower().startswith(f"{organization.lower()}/") and not _NOT_IN_A_LINK.search(url)


def _no_answer(cause: Exception, unproven: type[AzureDevOpsError], timeout: float) -> AzureDevOpsError:
    if isinstance(cause, OtherServerError):
        problem = "Azure DevOps names an address of another server"
        return RefusedError(problem, "correct AZURE_DEVOPS_URL", kind=ReasonKind.WRONG_ADDRESS)
    reason = network_reason(cause, timeout)
    inner = cause.args[0] if isinstance(cause, requests.RequestException) and cause.args else cause
    if isinstance(getattr(inner, "reason", inner), _NOT_SENT):
        return TemporaryError(f"Azure DevOps cannot be reached: {reason}")
    return unproven(f"the request to Azure DevOps failed: {reason or 'connection failed'}")


def _refused_without_words(status: int) -> RefusedError:
    return RefusedError(f"Azure DevOps answered {status}", "check AZURE_DEVOPS_URL", kind=ReasonKind.WRONG_ADDRESS)


def _sign_in_refused(answer: requests.Response, words: str) -> RefusedError:
    """Report where the sign-in leads: a wrong token is redirected, and Azure DevOps Server may have moved."""
    status = answer.status_code
    # The query may contain a secret.
    leads_to = shorten(re.split("[?#]", answer.headers.get("Location", ""))[0])
    if leads_to:
        reason = f"it redirects to {leads_to}"
    elif status == 203:  # noqa: PLR2004  the old form of the redirect
        reason = "it shows its sign-in page"
    else:
        # An expired token is named in this header only.
        reason = words or shorten(unquote_plus(answer.headers.get("X-TFS-ServiceError", "")))
    problem = f"Azure DevOps does not accept the sign-in (status {status})" + (f": {reason}" if reason else "")
    moved = leads_to and not re.search("sign-?in|login|oauth", leads_to, re.IGNORECASE)
    fix = "correct AZURE_DEVOPS_URL, or renew the token" if moved else _SIGN_IN_FIX
    return RefusedError(problem, fix, kind=ReasonKind.SIGN_IN_REFUSED)


def _content(answer: requests.Response) -> Mapping[str, Any]:
    """Return the JSON object of an answer with lower-case keys; empty if there is none."""
    try:
        content = answer.json()
    except (ValueError, RecursionError):
        return {}
    return {key.lower(): value for key, value in content.items()} if isinstance(content, dict) else {}


def _type_key(content: Mapping[str, Any]) -> str:
    return str(content.get("typekey") or content.get("classname") or "")


def _words(error: Exception, content: Mapping[str, Any]) -> str:
    """Return Azure DevOps' own words; the faults of a run are next to the message, which does not contain them."""
    if not isinstance(error, ClientException):
        return ""
    properties = content.get("customproperties")
    results = (properties if isinstance(properties, dict) else {}).get("ValidationResults")
    results = results or content.get("validationresults")
    details = [str(one.get("message")) for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    lines = details or _SDK_SENTENCES.sub("", str(error)).splitlines()
    return "; ".join(shorten(line) for line in lines[:_MOST_LINES])

"""Checks of the addresses in the settings (pure)."""

from collections.abc import Sequence
from itertools import takewhile
from urllib.parse import SplitResult, urlsplit

from model_release.text import redact, shorten

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ORGANIZATION = "https://dev.azure.com/contoso"
_SERVICE_HOSTS = ("dev.azure.com", ".visualstudio.com")


class InvalidValueError(ValueError):
    """A value is invalid: the problem and its fix."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.fix = fix


def server_url(text: str) -> str:
    """Check the address of a server; raises InvalidValueError."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidValueError("the address has an invalid host or port") from error
    if "@" in text or parts.query or parts.fragment:
        # The value may contain a secret and is not repeated.
        raise InvalidValueError("the address has a user, a password, a query or a fragment", "remove it")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise InvalidValueError(f"{shorten(text)!r} does not begin with https://")
    if not parts.hostname or port == 0:
        raise InvalidValueError(f"{shorten(text)!r} does not name a server")
    return text.rstrip("/")


def page_url(text: str) -> str:
    """Check the address of a page, or none; raises InvalidValueError. Azure Repos names a file in the query."""
    address, _, query = text.partition("?")
    if "#" in query or redact(query) != query:
        # The value may contain a secret and is not repeated.
        raise InvalidValueError("the address has a fragment or a credential", "remove it")
    if text:
        server_url(address)
    return text


def topic_endpoint(text: str) -> str:
    """Check the endpoint of an Event Grid topic, or none; raises InvalidValueError."""
    if text and urlsplit(server_url(text)).path.rstrip("/") != "/api/events":
        example = "https://TOPIC.REGION-1.eventgrid.azure.net/api/events"
        raise InvalidValueError(f"{shorten(text)!r} is not the endpoint of an Event Grid topic, such as {example}")
    return text.rstrip("/")


def azure_devops_url(text: str, token: str) -> str:
    """Check the address of an organization or an on-premises collection; raises InvalidValueError."""
    fix = f"set it to the address of your organization, such as {_ORGANIZATION}"
    if not text:
        raise InvalidValueError("missing", fix)
    parts = urlsplit(server_url(text))
    segments = [segment for segment in parts.path.split("/") if segment]
    host = (parts.hostname or "").lower()
    in_service = host.endswith(_SERVICE_HOSTS)
    right = _organization(host, segments) if in_service else _collection(parts, segments)
    if not right:
        raise InvalidValueError(f"{shorten(text)!r} does not name an organization", fix)
    given = f"{parts.scheme}://{'/'.join([parts.netloc, *segments])}"
    if given.lower() != right.lower():
        kind = "an organization" if in_service else "a collection"
        raise InvalidValueError(f"{shorten(text)!r} is not the address of {kind}", f"set it to {right}")
    # Without a token, one of Entra ID would be sent, which belongs to Azure DevOps Services.
    if not (is_service(host) or token):
        problem = f"{shorten(text)!r} is not an address of Azure DevOps Services, and AZURE_DEVOPS_PAT is missing"
        raise InvalidValueError(problem, f"{fix}, or set AZURE_DEVOPS_PAT for Azure DevOps Server")
    return given


def is_service(host: str) -> bool:
    """Whether a host belongs to Azure DevOps Services, or is a local emulator of it."""
    return host.lower().endswith(_SERVICE_HOSTS) or host in LOOPBACK


def _organization(host: str, segments: Sequence[str]) -> str:
    """Return the address of the organization, without the service of a host such as vsrm, and without a project."""
    if host.endswith("dev.azure.com"):
        return f"https://dev.azure.com/{segments[0]}" if segments and segments[0][0] != "_" else ""
    name = host.partition(".")[0]
    # A part of each address of the time before `dev.azure.com`.
    collection = segments[:1] if [segment.lower() for segment in segments[:1]] == ["defaultcollection"] else []
    return "" if name in ("app", "www") else "/".join([f"https://{name}.visualstudio.com", *collection])


def _collection(parts: SplitResult, segments: Sequence[str]) -> str:
    """Return the address without `_apis` and what follows."""
    return f"{parts.scheme}://{'/'.join([parts.netloc, *takewhile(lambda segment: segment[0] != '_', segments)])}"

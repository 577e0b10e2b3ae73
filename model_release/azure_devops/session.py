"""A session with Azure DevOps: its sign-in and its connections; importing this does not import the SDK."""

import json
from io import BytesIO
from typing import Any, Protocol

import requests
from azure.core.credentials import TokenCredential
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from model_release.session import CredentialSession

_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
_IN_PROJECT = "{project}/_apis/{area}/{resource}"
_OF_PIPELINE = "{project}/_apis/{area}/{pipelineId}/{resource}"
# ID, area, resource, route and version of each resource that the app uses, as Azure DevOps Services lists them. The
# REST reference documents these addresses too. https://learn.microsoft.com/rest/api/azure/devops/
_RESOURCES = (
    ("a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", f"{_IN_PROJECT}/{{releaseId}}", 8),
    ("d8f96f24-8ea7-4cb6-baab-2df8fc515665", "Release", "definitions", f"{_IN_PROJECT}/{{definitionId}}", 4),
    ("30fc787e-a9e0-4a07-9fbc-3e903aa051d2", "Release", "versions", "{project}/_apis/{area}/artifacts/{resource}", 1),
    ("28e1305e-2afe-47bf-abaf-cbb0e6a91988", "Pipelines", "pipelines", "{project}/_apis/{area}/{pipelineId}", 1),
    ("7859261e-d2e9-4a68-b820-a5d84cc5bb3d", "Pipelines", "runs", f"{_OF_PIPELINE}/{{runId}}", 2),
    ("53df2d18-29ea-46a9-bee0-933540f80abf", "Pipelines", "preview", _OF_PIPELINE, 2),
    ("0cd358e1-9217-4d94-8269-1c1ee6f93dcf", "Build", "Builds", f"{_IN_PROJECT}/{{buildId}}", 7),
    (
        *("8baac422-4c6e-4de5-8532-db96d92acffa", "Build", "Timeline"),
        *("{project}/_apis/{area}/builds/{buildId}/{resource}/{timelineId}", 2),
    ),
    (
        *("37794717-f36f-4d78-b2bf-4dc30d0cfbcd", "Pipelines", "approvals"),
        *("{project}/_apis/{area}/{resource}/{approvalId}", 1),
    ),
    ("f5b09dd5-9d54-45a1-8b5a-1c8287d634cc", "distributedtask", "variablegroups", f"{_IN_PROJECT}/{{id}}", 2),
    (
        *("dd3b8bd6-c7fc-4cbd-929a-933d9c011c9d", "Security", "permissions"),
        *("_apis/{resource}/{securityNamespaceId}/{permissions}", 2),
    ),
)
# The versions that all of these resources have; the app uses 7.0, and 7.1-preview of one.
_VERSIONS = {"minVersion": "3.2", "maxVersion": "7.1", "releasedVersion": "7.0"}
_KEYS = ("id", "area", "resourceName", "routeTemplate", "resourceVersion")


class Connections(HTTPAdapter):
    """Connections to Azure DevOps that all threads share; sends each request once.

    With `is_service` it answers the SDK's question for the addresses of all resources, which the SDK asks before its
    first request. Azure DevOps Server is asked, because its versions differ.
    """

    def __init__(self, *, is_service: bool) -> None:
        # A repeated POST is a second release, so only a failed connection is tried again.
        once = Retry(
            connect=1,
            read=0,
            redirect=0,
            status=0,
            other=0,
            allowed_methods=["GET", "OPTIONS"],
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        super().__init__(pool_maxsize=32, max_retries=once)
        self._is_service = is_service

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, or answer it."""
        if not (self._is_service and request.method == "OPTIONS"):
            return super().send(request, *args, **kwargs)
        listed = [dict(zip(_KEYS, one, strict=True)) | _VERSIONS for one in _RESOURCES]
        answer = requests.Response()
        answer.status_code = 200
        answer.url, answer.request = str(request.url), request
        answer.headers["Content-Type"] = "application/json"
        answer.raw = BytesIO(json.dumps({"count": len(listed), "value": listed}).encode())
        return answer


class SignIn(Protocol):
    """Signs the requests of a session."""

    def signed_session(self, session: Any = None) -> Any:
        """Sign the next request; the SDK calls this before every one."""


class EntraSignIn:
    """Signs each request with a token that is valid now; the SDK itself would keep the first token."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def signed_session(self, session: Any = None) -> Any:
        """Add the token; the SDK calls this before every request."""
        session = session or CredentialSession()
        session.headers["Authorization"] = f"Bearer {self._credential.get_token(_SCOPE).token}"
        return session


class PatSignIn:
    """Signs each request with a personal access token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def signed_session(self, session: Any = None) -> Any:
        """Add the token, as a password without a name."""
        session = session or CredentialSession()
        session.auth = ("", self._token)
        return session

"""Answers of the local Azure Resource Manager."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response


class Refusal(Exception):  # noqa: N818  an answer
    """An answer with an error of Azure Resource Manager."""

    def __init__(self, status: int, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.response = error(status, code, message, detail)


def token(request: Request) -> Response:
    """Answer as the identity endpoint of an App Service, which azure-identity finds in IDENTITY_ENDPOINT.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """
    if "X-IDENTITY-HEADER" not in request.headers:
        return error(400, "invalid_request", "The header X-IDENTITY-HEADER is missing.")
    expires = int(time.time()) + 3600
    resource = request.args.get("resource", "")
    return json_of({"access_token": "local", "expires_on": str(expires), "resource": resource, "token_type": "Bearer"})


def check(request: Request) -> None:
    """Refuse a request without a token or a version."""
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise Refusal(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    if "api-version" not in request.args:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise Refusal(400, "MissingApiVersionParameter", message)


def path_of(request: Request) -> str:
    """Return the path as it was sent: a quoted slash is part of a name."""
    return urlsplit(request.environ["REQUEST_URI"]).path


def choice(choices: Mapping[str, Any], request: Request, name: str, default: str) -> Any:
    """Return the meaning of a parameter, without regard to the case of its value."""
    value = request.args.get(name, default)
    if value.lower() not in choices:
        raise Refusal(400, "UserError", f"{name} cannot be {value}.")
    return choices[value.lower()]


def error(status: int, code: str, message: str, detail: str = "") -> Response:
    """Answer with an error of Azure Resource Manager, and the detail that Azure ML adds."""
    details = {"details": [{"code": "ModelNotFound", "message": detail}]} if detail else {}
    return json_of({"error": {"code": code, "message": message, **details}}, status)


def json_of(body: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(json.dumps(body), status, mimetype="application/json")

"""Sign in to Azure DevOps, as `msrest.authentication.Authentication` does; importing it does not import the SDK."""

from typing import Protocol

import requests
from azure.core.credentials import TokenCredential

_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"


class SignIn(Protocol):
    """Signs the requests of a session."""

    def signed_session(self, session: requests.Session | None = None) -> requests.Session:
        """Sign the next request; the SDK calls this before every one."""


class EntraSignIn:
    """Signs each request with a token that is valid now; the SDK itself would keep the first token."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def signed_session(self, session: requests.Session | None = None) -> requests.Session:
        """Add the token; the SDK calls this before every request."""
        session = session or requests.Session()
        session.headers["Authorization"] = f"Bearer {self._credential.get_token(_SCOPE).token}"
        return session


class PatSignIn:
    """Signs each request with a personal access token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def signed_session(self, session: requests.Session | None = None) -> requests.Session:
        """Add the token, as a password without a name."""
        session = session or requests.Session()
        session.auth = ("", self._token)
        return session

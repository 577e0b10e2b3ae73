"""Read from Azure Resource Manager as the app's identity, or as the developer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from model_release.domain.events import shorten
from model_release.errors import ModelReleaseError
from model_release.settings import LOOPBACK

_LONGEST_PAUSE_SECONDS = 60


class NotRead(ModelReleaseError):  # noqa: N818  named as the answer it is, like Busy
    """Azure did not tell; `status` is what it answered, 0 if nothing."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class _Retry(RetryPolicy[HttpRequest, HttpResponse]):
    """Waits as long as it is asked to, unless asking again later does better than waiting."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Tell whether to send the request again."""
        pause = self.get_retry_after(response) or 0
        return pause <= _LONGEST_PAUSE_SECONDS and super().is_retry(settings, response)


class ResourceManager:
    """Azure Resource Manager, to read from; raises NotRead, and nothing else of Azure."""

    def __init__(self, credential: TokenCredential, endpoint: str) -> None:
        """`endpoint` is its address; only on this machine it may be plain HTTP."""
        self.endpoint = endpoint.rstrip("/")
        self._enforce_https = urlsplit(endpoint).hostname not in LOOPBACK
        # Without a redirect policy a redirect is not followed, and the token stays here.
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self.endpoint,
            policies=[
                UserAgentPolicy("model-release"),
                _Retry(retry_total=3, retry_connect=1, retry_read=1),
                BearerTokenCredentialPolicy(credential, f"{self.endpoint}/.default"),
            ],
            connection_timeout=5,
            read_timeout=30,
        )

    def get(self, url: str) -> HttpResponse:
        """The answer with status 200 to one request."""
        try:
            response = self._client.send_request(HttpRequest("GET", url), enforce_https=self._enforce_https)
        except ClientAuthenticationError as error:
            msg = f"no token for Azure could be had: {shorten(error.message)}"
            raise NotRead(msg) from error
        # The retry policy lets a ValueError through for a Retry-After that it cannot read.
        except (AzureError, ValueError) as error:
            msg = f"Azure did not answer: {shorten(str(error))}"
            raise NotRead(msg) from error
        if response.status_code != 200:  # noqa: PLR2004  the only success that is documented
            raise NotRead(_refusal(response), response.status_code)
        return response


def _refusal(response: HttpResponse) -> str:
    said = HttpResponseError(response=response)
    message = f"{said.error.code}: {said.error.message}" if said.error else said.reason
    return f"Azure answered {response.status_code} {shorten(message)}"

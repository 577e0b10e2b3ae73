"""Read from Azure Resource Manager as the app's identity, or as the developer."""

from typing import Any
from urllib.parse import urlsplit

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from model_release.errors import ModelReleaseError
from model_release.settings import LOOPBACK
from model_release.text import network_reason, shorten

_LONGEST_PAUSE_SECONDS = 60
_TIMEOUT_SECONDS = 30


class ResourceManagerError(ModelReleaseError):
    """A request to Azure Resource Manager failed; `status` is that of the answer, 0 without an answer."""

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


class _Retry(RetryPolicy[HttpRequest, HttpResponse]):
    """Waits for as long as Retry-After says, but not longer than a minute."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Return whether to send the request again."""
        pause = self.get_retry_after(response) or 0
        return pause <= _LONGEST_PAUSE_SECONDS and super().is_retry(settings, response)


class ResourceManager:
    """Azure Resource Manager, read only; raises ResourceManagerError, and no other error of Azure."""

    def __init__(self, credential: TokenCredential, endpoint: str) -> None:
        """`endpoint` is its address; plain HTTP is allowed on this machine only."""
        self.endpoint = endpoint.rstrip("/")
        self._enforce_https = urlsplit(endpoint).hostname not in LOOPBACK
        # Without a redirect policy no redirect is followed, so the token is sent to this address only.
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self.endpoint,
            policies=[
                UserAgentPolicy("model-release"),
                _Retry(retry_total=3, retry_connect=1, retry_read=1),
                BearerTokenCredentialPolicy(credential, f"{self.endpoint}/.default"),
            ],
            connection_timeout=5,
            read_timeout=_TIMEOUT_SECONDS,
        )

    def get(self, url: str) -> HttpResponse:
        """Send one GET request; returns an answer with status 200."""
        try:
            response = self._client.send_request(HttpRequest("GET", url), enforce_https=self._enforce_https)
        except ClientAuthenticationError as error:
            reason = network_reason(error) or shorten(" ".join(error.message.split()))
            raise ResourceManagerError(f"cannot get a token for Azure Resource Manager: {reason}") from error
        except AzureError as error:
            reason = network_reason(error, _TIMEOUT_SECONDS) or shorten(error.message)
            raise ResourceManagerError(f"Azure Resource Manager cannot be reached: {reason}") from error
        # The retry policy raises it for a Retry-After that it cannot parse.
        except ValueError as error:
            raise ResourceManagerError("Azure Resource Manager's answer cannot be read") from error
        if response.status_code != 200:  # noqa: PLR2004  the only documented success
            raise ResourceManagerError(_refusal(response), response.status_code)
        return response


def _refusal(response: HttpResponse) -> str:
    answer = HttpResponseError(response=response)
    words = ": ".join(filter(None, [answer.error.code, answer.error.message])) if answer.error else answer.reason
    return f"Azure Resource Manager answered {response.status_code} {shorten(words or '')}".rstrip()

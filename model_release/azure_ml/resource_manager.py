"""Read from Azure Resource Manager as the app's identity, or as the developer."""

from datetime import timedelta
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, SansIOHTTPPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse

from model_release.azure_ml.pace import Pace
from model_release.errors import Fault, ModelReleaseError
from model_release.session import CredentialSession, is_local, no_token
from model_release.text import network_reason, shorten

_RETRIES, _LONGEST_PAUSE_SECONDS = 3, 60
_THROTTLED = 429
_AT_ONCE = "at_once"
_TIMEOUT_SECONDS = 30
_ONCE_TIMEOUT_SECONDS = 10


class ResourceManagerError(ModelReleaseError):
    """A request to Azure Resource Manager failed; the other values are those of the answer, if there is one."""

    def __init__(
        self, problem: str, status: int = 0, code: str = "", retry_after: timedelta | None = None, fix: str = ""
    ) -> None:
        super().__init__(str(Fault(problem, fix)))
        self.problem = problem
        self.fix = fix
        self.status = status
        self.code = code
        self.retry_after = retry_after


class _Retry(RetryPolicy[HttpRequest, HttpResponse]):
    """Waits for as long as Retry-After says, but not longer than a minute."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Return whether to send the request again."""
        pause = self.get_retry_after(response) or 0
        return pause <= _LONGEST_PAUSE_SECONDS and super().is_retry(settings, response)


class _KeepPace(SansIOHTTPPolicy[HttpRequest, HttpResponse]):
    """Lets each attempt of a list wait for its turn, and every list for a pause that one of them was asked for."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        """Wait; raises ResourceManagerError during a long pause."""
        if request.context.setdefault(_AT_ONCE, request.context.options.pop(_AT_ONCE, False)):
            return
        if pause := self._pace.wait(timedelta(seconds=_LONGEST_PAUSE_SECONDS)):
            reason = f"Azure Resource Manager asked for a pause, which lasts {round(pause.total_seconds())} s more"
            raise ResourceManagerError(reason, _THROTTLED, retry_after=pause)

    def on_response(
        self, _: PipelineRequest[HttpRequest], response: PipelineResponse[HttpRequest, HttpResponse]
    ) -> None:
        """Keep the pause of an answer that throttles, whose request it may be."""
        if response.http_response.status_code == _THROTTLED and (pause := _retry_after(response.http_response)):
            self._pace.pause(pause)


class ResourceManager:
    """Azure Resource Manager, read only; raises ResourceManagerError, and no other error of Azure."""

    def __init__(self, credential: TokenCredential, endpoint: str, pace: Pace | None = None) -> None:
        """`endpoint` is its address; plain HTTP is allowed on this machine only."""
        self.endpoint = endpoint.rstrip("/")
        self._enforce_https = not is_local(endpoint)
        transport = RequestsTransport(
            session=CredentialSession(endpoint),
            session_owner=False,
            connection_timeout=5,
            read_timeout=_TIMEOUT_SECONDS,
        )
        # Without a redirect policy no redirect is followed.
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self.endpoint,
            policies=[
                UserAgentPolicy("model-release"),
                _Retry(retry_total=_RETRIES, retry_connect=1, retry_read=1),
                BearerTokenCredentialPolicy(credential, f"{self.endpoint}/.default"),
                # After the retries, so that each of them counts.
                _KeepPace(pace or Pace()),
            ],
            transport=transport,
        )

    def get(self, url: str, *, once: bool = False) -> HttpResponse:
        """Send a GET request; returns an answer with status 200.

        `once` is for a caller with little time: it is sent at once, and an answer is final, and awaited for 10 seconds.
        """
        timeout = _ONCE_TIMEOUT_SECONDS if once else _TIMEOUT_SECONDS
        try:
            response = self._client.send_request(
                HttpRequest("GET", url),
                enforce_https=self._enforce_https,
                read_timeout=timeout,
                retry_status=0 if once else _RETRIES,
                **{_AT_ONCE: once},
            )
        except ClientAuthenticationError as error:
            fault = no_token("Azure Resource Manager", error)
            raise ResourceManagerError(fault.problem, fix=fault.fix) from error
        except AzureError as error:
            reason = network_reason(error, timeout) or shorten(" ".join(error.message.split()))
            raise ResourceManagerError(f"Azure Resource Manager cannot be reached: {reason}") from error
        # The retry policy raises it for a Retry-After that it cannot parse.
        except ValueError as error:
            raise ResourceManagerError("Azure Resource Manager's answer cannot be read") from error
        if response.status_code != 200:  # noqa: PLR2004  the only documented success
            raise _refusal(response)
        return response


def _refusal(response: HttpResponse) -> ResourceManagerError:
    answer = HttpResponseError(response=response)
    found = [answer.error.code, answer.error.message] if answer.error else [answer.reason]
    words = ": ".join(part if isinstance(part, str) else shorten(part) for part in found if part)
    return ResourceManagerError(
        f"Azure Resource Manager answered {response.status_code} {shorten(' '.join(words.split()))}".rstrip(),
        response.status_code,
        str((answer.error and answer.error.code) or ""),
        _retry_after(response),
    )


def _retry_after(response: HttpResponse) -> timedelta | None:
    """Read the pause, which is a number of seconds or a date."""
    try:
        return timedelta(seconds=RetryPolicy[Any, Any]().parse_retry_after(response.headers.get("Retry-After", "")))
    except (ValueError, OverflowError):
        return None

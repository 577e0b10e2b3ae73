"""List a workspace's model versions through Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from model_release.errors import ModelReleaseError
from model_release.events import Workspace, shorten, text_of
from model_release.settings import LOOPBACK

_LISTED = {"api-version": "2024-10-01", "listViewType": "ActiveOnly"}
_NEWEST_FIRST = {**_LISTED, "$orderBy": "createdtime desc"}
_LONGEST_PAUSE_SECONDS = 60
_PORTS = {"http": 80, "https": 443}
_WHAT_TO_DO = {
    401: "Azure does not accept this identity's sign-in; is it of the workspace's tenant?",
    403: (
        "this identity needs the actions Microsoft.MachineLearningServices/workspaces/models/read and "
        "Microsoft.MachineLearningServices/workspaces/models/versions/read on the workspace"
    ),
    404: "is the workspace there, or was it deleted, moved or misspelled in its resource id?",
}


class CannotList(ModelReleaseError):  # noqa: N818  named as the answer it is, like Busy
    """A workspace's model versions could not be listed, or not all of them."""


@dataclass(frozen=True)
class ModelVersion:
    """A model version as a workspace has it now; `created` is in UTC."""

    workspace: Workspace
    model: str
    version: str
    created: datetime
    tags: Mapping[str, str]
    properties: Mapping[str, str]


class _Retry(RetryPolicy[HttpRequest, HttpResponse]):
    """Waits as long as it is asked to, unless a later listing does better than waiting."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Tell whether to send the request again."""
        pause = self.get_retry_after(response) or 0
        return pause <= _LONGEST_PAUSE_SECONDS and super().is_retry(settings, response)


class AzureMl:
    """The model versions of Azure ML workspaces; every method raises CannotList, and nothing else of Azure."""

    def __init__(self, credential: TokenCredential, *, endpoint: str = "https://management.azure.com") -> None:
        """`endpoint` is Azure Resource Manager's; only on this machine it may be plain HTTP."""
        self._endpoint = endpoint.rstrip("/")
        self._enforce_https = urlsplit(endpoint).hostname not in LOOPBACK
        # Without a redirect policy a redirect is not followed, and the token stays here.
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self._endpoint,
            policies=[
                UserAgentPolicy("model-release"),
                _Retry(retry_total=3, retry_connect=1, retry_read=1),
                BearerTokenCredentialPolicy(credential, f"{self._endpoint}/.default"),
            ],
            connection_timeout=5,
            read_timeout=30,
        )

    def model_versions(self, workspace: Workspace, *, since: datetime | None = None) -> Iterator[ModelVersion]:
        """List what is registered, each model's newest version first, neither archived nor anonymous ones.

        `since` leaves out what was created earlier. There is no list across models, and no promise that a model's
        own `lastModifiedAt` follows its versions, so every model costs a request.
        https://learn.microsoft.com/rest/api/azureml/model-versions/list
        """
        models = f"{self._endpoint}{quote(workspace.id)}/models"
        for page in self._pages(models, _LISTED, workspace):
            with _as_documented(workspace):
                names = [str(container["name"]) for container in page if _is_listed(container)]
            for name in names:
                yield from self._versions(models, name, workspace, since)

    def _versions(
        self, models: str, model: str, workspace: Workspace, since: datetime | None
    ) -> Iterator[ModelVersion]:
        for page in self._pages(f"{models}/{quote(model, safe='')}/versions", _NEWEST_FIRST, workspace):
            with _as_documented(workspace):
                versions = [_version(item, model, workspace) for item in page if _is_listed(item)]
                last = _created(page[-1]) if page else None
            yield from (version for version in versions if since is None or version.created >= since)
            if since and last and last < since:
                return

    def _pages(self, url: str, query: Mapping[str, str], workspace: Workspace) -> Iterator[list[Any]]:
        link = f"{url}?{urlencode(query, safe='$', quote_via=quote)}"
        read = set()
        while link:
            if link in read or _origin(link) != _origin(self._endpoint):
                raise _cannot_list(workspace, f"the next page is not to be trusted: {shorten(link)}")
            read.add(link)
            response = self._get(link, workspace)
            with _as_documented(workspace):
                page = response.json()
                items, next_link = list(page["value"]), page.get("nextLink")
                link = next_link and urljoin(link, next_link)
            yield items

    def _get(self, url: str, workspace: Workspace) -> HttpResponse:
        try:
            response = self._client.send_request(HttpRequest("GET", url), enforce_https=self._enforce_https)
        except ClientAuthenticationError as error:
            raise _cannot_list(workspace, f"no token for Azure could be had: {shorten(error.message)}") from error
        # The retry policy lets a ValueError through for a Retry-After that it cannot read.
        except (AzureError, ValueError) as error:
            raise _cannot_list(workspace, f"Azure did not answer: {shorten(str(error))}") from error
        if response.status_code != 200:  # noqa: PLR2004  the only success that is documented
            raise _cannot_list(workspace, _refusal(response))
        return response


def _cannot_list(workspace: Workspace, reason: str) -> CannotList:
    return CannotList(f"the model versions of workspace {workspace.name} cannot be listed: {reason}")


def _refusal(response: HttpResponse) -> str:
    said = HttpResponseError(response=response)
    message = f"{said.error.code}: {said.error.message}" if said.error else said.reason
    what_to_do = _WHAT_TO_DO.get(response.status_code)
    answered = f"Azure answered {response.status_code} {shorten(message)}"
    return f"{what_to_do} ({answered})" if what_to_do else answered


@contextmanager
def _as_documented(workspace: Workspace) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"Azure's answer is not what is documented: {shorten(repr(error))}"
        raise _cannot_list(workspace, reason) from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Tell where a URL leads; Azure Resource Manager's own links may or may not name the port."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def _is_listed(item: Any) -> bool:
    properties = item.get("properties") or {}
    return not (properties.get("isArchived") or properties.get("isAnonymous"))


def _version(item: Any, model: str, workspace: Workspace) -> ModelVersion:
    properties = item.get("properties") or {}
    return ModelVersion(
        workspace=workspace,
        model=model,
        version=str(item["name"]),
        created=_created(item),
        tags=_texts(properties.get("tags")),
        properties=_texts(properties.get("properties")),
    )


def _created(item: Any) -> datetime:
    moment = datetime.fromisoformat(item["systemData"]["createdAt"])
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _texts(values: dict[str, Any] | None) -> dict[str, str]:
    return {key: text_of(value) for key, value in (values or {}).items()}

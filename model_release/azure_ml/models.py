"""Read a workspace's model versions through Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from azure.core.credentials import TokenCredential
from azure.core.rest import HttpResponse

from model_release.azure_ml.resource_manager import NotRead, ResourceManager
from model_release.domain.events import Workspace, shorten, text_of
from model_release.errors import ModelReleaseError
from model_release.settings import AZURE

_READ = {"api-version": "2024-10-01"}
_LISTED = {**_READ, "listViewType": "ActiveOnly"}
_NEWEST_FIRST = {**_LISTED, "$orderBy": "createdtime desc"}
_PORTS = {"http": 80, "https": 443}
_WHAT_TO_DO = {
    401: "Azure does not accept this identity's sign-in; is it of the workspace's tenant?",
    403: (
        "this identity needs the actions Microsoft.MachineLearningServices/workspaces/models/read and "
        "Microsoft.MachineLearningServices/workspaces/models/versions/read on the workspace"
    ),
}
_NOT_FOUND, _SERVER_ERROR = 404, 500
_NO_WORKSPACE = "is the workspace there, or was it deleted, moved or misspelled in its resource id?"


class CannotList(ModelReleaseError):  # noqa: N818  named as the answer it is, like Busy
    """A workspace's model versions could not be read, or not all of them."""


class CannotListModel(CannotList):
    """Those of one model could not be read; others may be."""


@dataclass(frozen=True)
class ModelVersion:
    """A model version as a workspace has it now; `created` is in UTC."""

    workspace: Workspace
    model: str
    version: str
    created: datetime
    tags: Mapping[str, str]
    properties: Mapping[str, str]


class AzureMl:
    """The model versions of Azure ML workspaces; every method raises CannotList, and nothing else of Azure."""

    def __init__(self, credential: TokenCredential, *, endpoint: str = AZURE) -> None:
        """`endpoint` is Azure Resource Manager's; only on this machine it may be plain HTTP."""
        self._resource_manager = ResourceManager(credential, endpoint)
        self._endpoint = self._resource_manager.endpoint

    def models(self, workspace: Workspace) -> Iterator[str]:
        """List the names of the models, neither archived nor anonymous ones.

        https://learn.microsoft.com/rest/api/azureml/model-containers/list
        """
        for page in self._pages(self._models(workspace), _LISTED, workspace):
            with _as_documented(workspace):
                names = [str(container["name"]) for container in page if _is_listed(container)]
            yield from names

    def versions(self, workspace: Workspace, model: str, *, since: datetime | None = None) -> Iterator[ModelVersion]:
        """List a model's versions, the newest first, neither archived nor anonymous ones; raises CannotListModel too.

        `since` leaves out what was created earlier. There is no list across models, and no promise that a model's
        own `lastModifiedAt` follows its versions, so every model costs a request.
        https://learn.microsoft.com/rest/api/azureml/model-versions/list
        """
        for page in self._pages(f"{self._model(workspace, model)}/versions", _NEWEST_FIRST, workspace, model):
            with _as_documented(workspace, model):
                versions = [_version(item, model, workspace) for item in page if _is_listed(item)]
                last = _created(page[-1]) if page else None
            yield from (version for version in versions if since is None or version.created >= since)
            if since and last and last < since:
                return

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion:
        """One version as it is registered now, an archived one too."""
        url = f"{self._model(workspace, model)}/versions/{quote(version, safe='')}?{urlencode(_READ)}"
        response = self._get(url, workspace, model, f"{model} {version} is not registered there")
        with _as_documented(workspace, model):
            return _version(response.json(), model, workspace)

    def _models(self, workspace: Workspace) -> str:
        return f"{self._endpoint}{quote(workspace.id)}/models"

    def _model(self, workspace: Workspace, model: str) -> str:
        return f"{self._models(workspace)}/{quote(model, safe='')}"

    def _pages(self, url: str, query: Mapping[str, str], workspace: Workspace, model: str = "") -> Iterator[list[Any]]:
        link = f"{url}?{urlencode(query, safe='$', quote_via=quote)}"
        read = set()
        while link:
            if link in read or _origin(link) != _origin(self._endpoint):
                raise _cannot_list(workspace, f"the next page is not to be trusted: {shorten(link)}", model)
            read.add(link)
            response = self._get(link, workspace, model, f"{model} is not there any more" if model else _NO_WORKSPACE)
            with _as_documented(workspace, model):
                page = response.json()
                items, next_link = list(page["value"]), page.get("nextLink")
                link = next_link and urljoin(link, next_link)
            yield items

    def _get(self, url: str, workspace: Workspace, model: str, not_found: str) -> HttpResponse:
        try:
            return self._resource_manager.get(url)
        except NotRead as error:
            what_to_do = {**_WHAT_TO_DO, _NOT_FOUND: not_found}.get(error.status)
            # Any other answer would be the same for the next model.
            whose = model if error.status == _NOT_FOUND or error.status >= _SERVER_ERROR else ""
            raise _cannot_list(workspace, f"{what_to_do} ({error})" if what_to_do else str(error), whose) from error


def _cannot_list(workspace: Workspace, reason: str, model: str) -> CannotList:
    kind, what = (CannotListModel, f"versions of {model} in") if model else (CannotList, "model versions of")
    return kind(f"the {what} workspace {workspace.name} cannot be read: {reason}")


@contextmanager
def _as_documented(workspace: Workspace, model: str = "") -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"Azure's answer is not what is documented: {shorten(repr(error))}"
        raise _cannot_list(workspace, reason, model) from error


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

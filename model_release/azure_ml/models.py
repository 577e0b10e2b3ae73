"""Read a workspace's model versions through Azure Resource Manager."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from azure.core.credentials import TokenCredential

from model_release.azure_ml.resource_manager import ResourceManager, ResourceManagerError
from model_release.domain.events import Workspace, text_of
from model_release.errors import Fault, ModelReleaseError
from model_release.settings import AZURE
from model_release.text import network_reason, shorten

_READ = {"api-version": "2024-10-01"}
_LISTED = {**_READ, "listViewType": "ActiveOnly"}
_NEWEST_FIRST = {**_LISTED, "$orderBy": "createdtime desc"}
_NOT_FOUND, _SERVER_ERROR = 404, 500
# Azure Resource Manager's own codes for a workspace, a resource group or a subscription; Azure ML has others.
_NO_WORKSPACE = re.compile(r"((Parent)?Resource(Group)?|Subscription|Workspace)NotFound|Invalid.*")
_SUCCEEDED = "Succeeded"
_NOT_AS_DOCUMENTED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
_FIXES = {
    401: "use an identity of the workspace's tenant",
    403: (
        "grant this identity the actions Microsoft.MachineLearningServices/workspaces/models/read and "
        "Microsoft.MachineLearningServices/workspaces/models/versions/read on the workspace"
    ),
    _NOT_FOUND: "correct the workspace's resource ID, or remove the workspace from AML_WORKSPACES",
}


class AzureMlError(ModelReleaseError):
    """The model versions of a workspace could not be read, or not all of them.

    `retry_after` is the pause that Azure Resource Manager asked for.
    """

    def __init__(self, problem: str, fix: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(str(Fault(problem, fix)))
        self.problem = problem
        self.fix = fix
        self.retry_after = retry_after


class ModelListError(AzureMlError):
    """The versions of one model could not be read; those of other models may be readable."""


# Receives what a list leaves out, and why.
Skip = Callable[[AzureMlError], None]


@dataclass(frozen=True)
class ModelVersion:
    """A model version as it is registered now; `created` is in UTC.

    `provisioning_state` is empty if Azure ML gives none.
    """

    workspace: Workspace
    model: str
    version: str
    created: datetime
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    provisioning_state: str = ""

    @property
    def ready(self) -> bool:
        """Whether the version can be released: its registration succeeded."""
        return self.provisioning_state in ("", _SUCCEEDED)


class AzureMl:
    """The model versions of Azure ML workspaces; every method raises AzureMlError, and no other error of Azure."""

    def __init__(self, credential: TokenCredential, *, endpoint: str = AZURE) -> None:
        """`endpoint` is the address of Azure Resource Manager; plain HTTP is allowed on this machine only."""
        self._resource_manager = ResourceManager(credential, endpoint)
        self._endpoint = self._resource_manager.endpoint

    def models(self, workspace: Workspace, *, skip: Skip) -> Iterator[str]:
        """List the names of the models that are neither archived nor anonymous.

        https://learn.microsoft.com/rest/api/azureml/model-containers/list
        """
        for page in self._pages(self._url(workspace), _LISTED, workspace):
            names: list[str] = []
            for container in page:
                with _skipped_alone(container, workspace, "", skip):
                    names += [str(container["name"])] if _is_listed(container) else []
            yield from names

    def versions(self, workspace: Workspace, model: str, *, since: datetime, skip: Skip) -> Iterator[ModelVersion]:
        """List a model's versions that are neither archived nor anonymous, newest first; raises ModelListError too.

        `since` omits what was created earlier. A model that Azure ML does not have is skipped. Each model costs a
        request, because Azure ML has no list across models and does not promise that a model's `lastModifiedAt` changes
        with its versions.
        https://learn.microsoft.com/rest/api/azureml/model-versions/list
        """
        for page in self._pages(self._url(workspace, model, "versions"), _NEWEST_FIRST, workspace, model, skip):
            oldest, versions = datetime.max.replace(tzinfo=UTC), []
            for item in page:
                with _skipped_alone(item, workspace, model, skip):
                    oldest = _created(item)
                    if oldest >= since and _is_listed(item):
                        versions.append(_version(item, model, workspace))
            yield from versions
            if oldest < since:
                return

    def model_version(self, workspace: Workspace, model: str, version: str) -> ModelVersion | None:
        """Read one version, which may be archived; None if it is not registered.

        Sends one request, because callers wait for it; they must try again after a temporary error.
        """
        url = f"{self._url(workspace, model, 'versions', version)}?{urlencode(_READ)}"
        try:
            response = self._resource_manager.get(url, once=True)
        except ResourceManagerError as error:
            if error.status == _NOT_FOUND and error.code and not _NO_WORKSPACE.fullmatch(error.code):
                return None
            raise _refused(workspace, "", error) from error
        with _as_documented(workspace, model):
            return _version(response.json(), model, workspace)

    def _url(self, workspace: Workspace, *path: str) -> str:
        return "/".join([f"{self._endpoint}{quote(workspace.id)}/models", *(quote(part, safe="") for part in path)])

    def _pages(
        self, url: str, query: Mapping[str, str], workspace: Workspace, model: str = "", skip: Skip | None = None
    ) -> Iterator[list[Any]]:
        link = f"{url}?{urlencode(query, safe='$', quote_via=quote)}"
        read: set[str] = set()
        while link:
            if link in read:
                raise _error(workspace, model, f"the next page was read before: {shorten(link)}")
            try:
                response = self._resource_manager.get(link)
            except ResourceManagerError as error:
                not_found = error.status == _NOT_FOUND and not _NO_WORKSPACE.fullmatch(error.code)
                if skip and not_found and not read:
                    skip(AzureMlError(f"model {model} in workspace {workspace.name} has no versions: {error}"))
                    return
                # Any other refusal would be the same for the next model.
                whose = model if not_found or error.status >= _SERVER_ERROR else ""
                raise _refused(workspace, whose, error) from error
            read.add(link)
            with _as_documented(workspace, model):
                page = response.json()
                items, next_link = list(page["value"]), page.get("nextLink")
                link = next_link and _behind(self._endpoint, urljoin(link, next_link))
            yield items


def _refused(workspace: Workspace, model: str, error: ResourceManagerError) -> AzureMlError:
    return _error(workspace, model, str(error), _FIXES.get(error.status, ""), error.retry_after)


def _error(
    workspace: Workspace, model: str, reason: str, fix: str = "", retry_after: timedelta | None = None
) -> AzureMlError:
    kind, subject = (ModelListError, f"versions of {model} in") if model else (AzureMlError, "model versions of")
    problem = f"the {subject} workspace {workspace.name} cannot be read: {reason}"
    return kind(problem, fix, retry_after=retry_after)


@contextmanager
def _skipped_alone(item: Any, workspace: Workspace, model: str, skip: Skip) -> Iterator[None]:
    try:
        yield
    except _NOT_AS_DOCUMENTED:
        name = shorten(item["name"] if isinstance(item, dict) and "name" in item else item)
        skipped = f"version {name} of {model}" if model else f"model {name}"
        documents = "https://learn.microsoft.com/rest/api/azureml/"
        problem = f"{skipped} in workspace {workspace.name} is skipped: Azure Resource Manager lists it in another form"
        skip(AzureMlError(f"{problem} than documented", f"archive it, or compare it with {documents}"))


@contextmanager
def _as_documented(workspace: Workspace, model: str = "") -> Iterator[None]:
    try:
        yield
    except _NOT_AS_DOCUMENTED as error:
        reason = network_reason(error) or "the answer is not as documented"
        raise _error(workspace, model, f"Azure Resource Manager answered 200: {reason}") from error


def _behind(endpoint: str, link: str) -> str:
    """Return the address at the endpoint that has the path and the query of a link."""
    parts = urlsplit(link)
    return urlsplit(endpoint)._replace(path=f"/{parts.path.lstrip('/')}", query=parts.query).geturl()


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
        provisioning_state=str(properties.get("provisioningState") or ""),
    )


def _created(item: Any) -> datetime:
    moment = datetime.fromisoformat(item["systemData"]["createdAt"])
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _texts(values: dict[str, Any] | None) -> dict[str, str]:
    return {key: text_of(value) for key, value in (values or {}).items()}

"""Read a workspace's model versions through Azure Resource Manager."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from azure.core.credentials import TokenCredential

from model_release.azure_ml.items import (
    NOT_AS_DOCUMENTED,
    AzureMlError,
    ModelContainer,
    ModelListError,
    ModelVersion,
    Skip,
    is_listed,
    read_container,
    read_created,
    read_version,
    skipped_alone,
)
from model_release.azure_ml.pace import Pace
from model_release.azure_ml.resource_manager import ResourceManager, ResourceManagerError
from model_release.domain.events import Workspace
from model_release.settings import AZURE
from model_release.text import network_reason, shorten

_READ = {"api-version": "2024-10-01"}
_LISTED = {**_READ, "listViewType": "ActiveOnly"}
_NEWEST_FIRST = {**_LISTED, "$orderBy": "createdtime desc"}
_NOT_FOUND, _SERVER_ERROR = 404, 500
# Azure Resource Manager's own codes for a workspace, a resource group or a subscription; Azure ML has others.
_NO_WORKSPACE = re.compile(r"((Parent)?Resource(Group)?|Subscription|Workspace|Registry)NotFound|Invalid.*")
_FIXES = {
    401: "use an identity of the {kind}'s tenant",
    403: "grant this identity the actions {actions} on the {kind}",
    _NOT_FOUND: "correct the {kind}'s resource ID, or remove the {kind} from {setting}",
}
_PROVIDER = "Microsoft.MachineLearningServices"
_OF_WORKSPACE = {
    "kind": "workspace",
    "setting": "AML_WORKSPACES",
    "actions": f"{_PROVIDER}/workspaces/models/read and {_PROVIDER}/workspaces/models/versions/read",
}
_OF_REGISTRY = {
    "kind": "registry",
    "setting": "AML_REGISTRIES",
    "actions": f"{_PROVIDER}/registries/read and {_PROVIDER}/registries/assets/read",
}


class AzureMl:
    """The models of workspaces and registries; every method raises AzureMlError, and no other error of Azure."""

    def __init__(self, credential: TokenCredential, *, endpoint: str = AZURE, pace: Pace | None = None) -> None:
        """`endpoint` is the address of Azure Resource Manager; plain HTTP is allowed on this machine only.

        Lists keep to the pace.
        """
        self._resource_manager = ResourceManager(credential, endpoint, pace)
        self._endpoint = self._resource_manager.endpoint

    def models(self, workspace: Workspace, *, skip: Skip) -> Iterator[ModelContainer]:
        """List the models that are neither archived nor anonymous.

        https://learn.microsoft.com/rest/api/azureml/model-containers/list
        """
        for page in self._pages(self._url(workspace), _LISTED, workspace):
            models: list[ModelContainer] = []
            for item in page:
                with skipped_alone(item, workspace, "", skip):
                    models += [read_container(item)] if is_listed(item) else []
            yield from models

    def versions(self, workspace: Workspace, model: str, *, since: datetime, skip: Skip) -> Iterator[ModelVersion]:
        """List a model's versions that are neither archived nor anonymous, newest first; raises ModelListError too.

        `since` omits what was created earlier. A model that Azure ML does not have is skipped. Each model costs a
        request, because Azure ML has no list across models.
        https://learn.microsoft.com/rest/api/azureml/model-versions/list
        """
        for page in self._pages(self._url(workspace, model, "versions"), _NEWEST_FIRST, workspace, model, skip):
            oldest, versions = datetime.max.replace(tzinfo=UTC), []
            for item in page:
                with skipped_alone(item, workspace, model, skip):
                    oldest = read_created(item)
                    if oldest >= since and is_listed(item):
                        versions.append(read_version(item, model, workspace))
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
            return read_version(response.json(), model, workspace)

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
                    skip(AzureMlError(f"model {model} in {workspace.title} has no versions: {error}"))
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
    of_status = _FIXES.get(error.status, "").format(**_OF_REGISTRY if workspace.is_registry else _OF_WORKSPACE)
    return _error(workspace, model, error.problem, error.fix or of_status, error.retry_after)


def _error(
    workspace: Workspace, model: str, reason: str, fix: str = "", retry_after: timedelta | None = None
) -> AzureMlError:
    kind, subject = (ModelListError, f"versions of {model} in") if model else (AzureMlError, "model versions of")
    problem = f"the {subject} {workspace.title} cannot be read: {reason}"
    return kind(problem, fix, retry_after=retry_after)


@contextmanager
def _as_documented(workspace: Workspace, model: str = "") -> Iterator[None]:
    try:
        yield
    except NOT_AS_DOCUMENTED as error:
        reason = network_reason(error) or "the answer is not as documented"
        raise _error(workspace, model, f"Azure Resource Manager answered 200: {reason}") from error


def _behind(endpoint: str, link: str) -> str:
    """Return the address at the endpoint that has the path and the query of a link."""
    parts = urlsplit(link)
    return urlsplit(endpoint)._replace(path=f"/{parts.path.lstrip('/')}", query=parts.query).geturl()

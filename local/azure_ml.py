"""Azure Resource Manager on this machine: models, event subscriptions, and a managed identity to read them with."""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode

from werkzeug.wrappers import Request, Response

from local.azure_devops import Received
from local.azure_devops_faults import Fault, Faults
from local.azure_ml_http import Refusal, check, choice, error, json_of, path_of, token
from local.azure_ml_models import Json, Model, new_model
from local.serving import Server, free_port

# The page size of Azure ML is not documented.
_PAGE_SIZE = 30
WORKSPACE = (
    "/subscriptions/5ac1d0de-0000-4000-8000-3b1f0e2d9c11/resourceGroups/ml-prod"
    "/providers/Microsoft.MachineLearningServices/workspaces/prod"
)
_MODELS = re.compile(
    r"(?P<workspace>/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.MachineLearningServices"
    r"/(?P<kind>workspaces|registries)/(?P<name>[^/]+))/models(?:/(?P<model>[^/]+)(?P<list>/versions(?:/(?P<version>[^/]+))?)?)?/?",
    re.IGNORECASE,
)
_VIEWS = {"activeonly": {False}, "archivedonly": {True}, "all": {False, True}}
_ORDERS = {"": None, "createdtime asc": False, "createdtime desc": True}  # whether the newest is first


class AzureMl:
    """The workspaces and registries of all subscriptions; an application for a Server.

    `containers_follow`: the time of a container changes with its versions, which nothing promises.
    """

    def __init__(self, workspaces: Iterable[str] = (), *, page_size: int = _PAGE_SIZE) -> None:
        """Start with these empty workspaces and registries, named by their resource IDs."""
        self.containers_follow = True
        self.requests: list[Received] = []
        self.event_subscriptions: list[Json] = []
        self._page_size = page_size
        self._workspaces: dict[str, dict[str, Model]] = {id_.lower(): {} for id_ in workspaces}
        self._faults = Faults()
        self._lock = threading.RLock()
        self._local = {"POST /_local/versions": self._register, "POST /_local/faults": self._add_faults}

    def add_version(
        self,
        workspace_id: str,
        model: str,
        version: str,
        *,
        created: datetime,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        archived: bool = False,
        anonymous: bool = False,
    ) -> None:
        """Register a model version; a new workspace and a new model are added."""
        described: Json = {"tags": dict(tags or {}), "properties": dict(properties or {})}
        described |= {"isArchived": archived, "isAnonymous": anonymous}
        with self._lock:
            models = self._workspaces.setdefault(workspace_id.lower(), {})
            found = models.setdefault(model, new_model(workspace_id, model, created))
            found.add(version, created, described)
            found.change(follows=self.containers_follow)

    def set_tags(self, workspace_id: str, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Replace a version's tags."""
        self._change(workspace_id, model, version, tags=dict(tags))

    def set_state(self, workspace_id: str, model: str, version: str, state: str) -> None:
        """Set a version's provisioning state."""
        self._change(workspace_id, model, version, provisioningState=state)

    def archive(self, workspace_id: str, model: str, version: str | None = None) -> None:
        """Archive a version, or the model itself."""
        if version is not None:
            self._change(workspace_id, model, version, isArchived=True)
            return
        with self._lock:
            self._workspaces[workspace_id.lower()][model].container["properties"]["isArchived"] = True

    def misbehave(self, *faults: Fault) -> None:
        """Add faults; of those that match a request, the one added first happens."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == "/msi/token":
            return token(request)
        if handler := self._local.get(f"{request.method} {request.path}"):
            return handler(request)
        received = Received(request.method, request.path, request.get_data(as_text=True), request.query_string.decode())
        with self._lock:
            self.requests.append(received)
        return self._faults.take(request).answer(lambda: self._answer(request))

    def _register(self, request: Request) -> Response:
        for version in request.get_json(force=True):
            self.add_version(**version, created=datetime.now(UTC))
        return Response(status=204)

    def _add_faults(self, request: Request) -> Response:
        self.misbehave(*[Fault(**fields) for fields in request.get_json(force=True)])
        return Response(status=204)

    def _change(self, workspace_id: str, model: str, version: str, **properties: Any) -> None:
        with self._lock:
            self._version(workspace_id, model, version)["properties"] |= properties
            self._workspaces[workspace_id.lower()][model].change(follows=self.containers_follow)

    def _version(self, workspace_id: str, model: str, version: str) -> Json:
        return self._workspaces[workspace_id.lower()][model].versions[version]

    def _answer(self, request: Request) -> Response:
        try:
            check(request)
            with self._lock:
                return json_of(self._read(request))
        except Refusal as refusal:
            return refusal.response
        except ValueError:  # of $skip
            return error(400, "UserError", "The continuation token is not valid.")

    def _read(self, request: Request) -> Json:
        path = path_of(request)
        found = _MODELS.fullmatch(path)
        if "/eventsubscriptions/" in path.lower():
            return self._event_subscription(unquote(path))
        if found and found["version"]:
            return self._one(request, found["version"])
        if found and found["model"] and not found["list"]:
            return self._models(request)[unquote(found["model"])].container
        return self._list(request)

    def _event_subscription(self, id_: str) -> Json:
        for subscription in self.event_subscriptions:
            if subscription["id"].lower() == id_.lower():
                return subscription
        raise Refusal(404, "ResourceNotFound", f"The Resource '{id_}' was not found.")

    def _one(self, request: Request, quoted: str) -> Json:
        version = unquote(quoted)
        for item in self._items(request):
            if item["name"] == version:
                return item
        raise _not_found(f"Model with version: {version} not found.")

    def _list(self, request: Request) -> Json:
        view = choice(_VIEWS, request, "listViewType", "ActiveOnly")
        newest_first = choice(_ORDERS, request, "$orderBy", "")
        items = [item for item in self._items(request) if item["properties"]["isArchived"] in view]
        if newest_first is not None:
            items.sort(key=lambda item: item["systemData"]["createdAt"], reverse=newest_first)
        items = items[: request.args.get("$top", request.args.get("count", len(items), int), int)]
        start = int(request.args.get("$skip", "0x0"), 16)
        end = start + self._page_size
        page: Json = {"value": items[start:end]}
        if end < len(items):
            query = urlencode({**request.args.to_dict(), "$skip": hex(end)}, safe="$", quote_via=quote)
            page["nextLink"] = f"{request.host_url.rstrip('/')}{path_of(request)}?{query}"
        return page

    def _items(self, request: Request) -> list[Json]:
        models, found = self._models(request), _MODELS.fullmatch(path_of(request))
        if found and found["model"]:
            return list(models[unquote(found["model"])].versions.values())
        return [model.container for _, model in sorted(models.items())]

    def _models(self, request: Request) -> dict[str, Model]:
        """Return the models of the workspace or registry, among them that of the path, if it names one."""
        found = _MODELS.fullmatch(path_of(request))
        if not found or request.method != "GET":
            raise Refusal(404, "InvalidResourceType", "The resource type could not be found in the namespace.")
        models = self._workspaces.get(unquote(found["workspace"]).lower())
        if models is None:
            name = f"'Microsoft.MachineLearningServices/{found['kind']}/{found['name']}'"
            message = f"The Resource {name} under resource group '{found['group']}' was not found."
            raise Refusal(404, "ResourceNotFound", message)
        if found["model"] and unquote(found["model"]) not in models:
            raise _not_found(f"Model container with name: {unquote(found['model'])} not found.")
        return models


def _not_found(detail: str) -> Refusal:
    return Refusal(404, "UserError", "The specified resource was not found.", detail)


def sample() -> AzureMl:
    """Return an Azure ML with the versions of the sample events."""
    azure_ml, now = AzureMl([WORKSPACE]), datetime.now(UTC)
    tags, properties = {"area": "diabetes", "type": "regression"}, {"type": "test"}
    for version in ("20", "21"):
        model = "sklearn_regression_model"
        azure_ml.add_version(WORKSPACE, model, version, created=now, tags=tags, properties=properties)
    azure_ml.add_version(WORKSPACE, "fraud_model", "3", created=now, tags={"stage": "production"})
    return azure_ml


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.azure_ml", description="Serve a local Azure ML.")
    parser.add_argument("--port", type=free_port, default="0", help="port to listen on; default: a free one")
    with Server(sample(), parser.parse_args().port) as server:
        print(f"Azure ML at {server.url}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()

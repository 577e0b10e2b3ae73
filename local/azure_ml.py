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
from local.serving import Server

Json = dict[str, Any]

# The page size of Azure ML is not documented.
_PAGE_SIZE = 30
WORKSPACE = (
    "/subscriptions/5ac1d0de-0000-4000-8000-3b1f0e2d9c11/resourceGroups/ml-prod"
    "/providers/Microsoft.MachineLearningServices/workspaces/prod"
)
_TYPE = "Microsoft.MachineLearningServices/workspaces/models"
_MODELS = re.compile(
    r"(?P<workspace>/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[^/]+))/models(?:/(?P<model>[^/]+)/versions(?:/(?P<version>[^/]+))?)?/?",
    re.IGNORECASE,
)
_VIEWS = {"activeonly": {False}, "archivedonly": {True}, "all": {False, True}}
_ORDERS = {"": None, "createdtime asc": False, "createdtime desc": True}  # whether the newest is first


class AzureMl:
    """The workspaces of all subscriptions; an application for a Server."""

    def __init__(self, workspaces: Iterable[str] = (), *, page_size: int = _PAGE_SIZE) -> None:
        """Start with these empty workspaces, named by their resource IDs."""
        self.requests: list[Received] = []
        self.event_subscriptions: list[Json] = []
        self._page_size = page_size
        self._workspaces: dict[str, dict[str, tuple[Json, dict[str, Json]]]] = {id_.lower(): {} for id_ in workspaces}
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
        home = f"{workspace_id}/models/{model}"
        described = {"tags": dict(tags or {}), "properties": dict(properties or {}), "isArchived": archived}
        item = _resource(f"{home}/versions/{version}", version, f"{_TYPE}/versions", created)
        item["properties"] |= {**described, "isAnonymous": anonymous, "modelType": "custom_model", "flavors": {}}
        item["properties"]["provisioningState"] = "Succeeded"
        container = _resource(home, model, _TYPE, created)
        with self._lock:
            models = self._workspaces.setdefault(workspace_id.lower(), {})
            _, versions = models.setdefault(model, (container, {}))
            versions[version] = item

    def set_tags(self, workspace_id: str, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Replace a version's tags."""
        with self._lock:
            self._version(workspace_id, model, version)["properties"]["tags"] = dict(tags)

    def set_state(self, workspace_id: str, model: str, version: str, state: str) -> None:
        """Set a version's provisioning state."""
        with self._lock:
            self._version(workspace_id, model, version)["properties"]["provisioningState"] = state

    def archive(self, workspace_id: str, model: str, version: str | None = None) -> None:
        """Archive a version, or the model itself."""
        with self._lock:
            container, _ = self._workspaces[workspace_id.lower()][model]
            item = container if version is None else self._version(workspace_id, model, version)
            item["properties"]["isArchived"] = True

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

    def _version(self, workspace_id: str, model: str, version: str) -> Json:
        return self._workspaces[workspace_id.lower()][model][1][version]

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
            return self._one_version(request, unquote(found["version"]))
        return self._list(request)

    def _event_subscription(self, id_: str) -> Json:
        for subscription in self.event_subscriptions:
            if subscription["id"].lower() == id_.lower():
                return subscription
        raise Refusal(404, "ResourceNotFound", f"The Resource '{id_}' was not found.")

    def _one_version(self, request: Request, version: str) -> Json:
        for item in self._items(request):
            if item["name"] == version:
                return item
        raise Refusal(404, "UserError", f"Model version {version} was not found.")

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
        found = _MODELS.fullmatch(path_of(request))
        if not found or request.method != "GET":
            raise Refusal(404, "InvalidResourceType", "The resource type could not be found in the namespace.")
        models = self._workspaces.get(unquote(found["workspace"]).lower())
        if models is None:
            name = f"'Microsoft.MachineLearningServices/workspaces/{found['name']}'"
            message = f"The Resource {name} under resource group '{found['group']}' was not found."
            raise Refusal(404, "ResourceNotFound", message)
        if found["model"] is None:
            return [container for _, (container, _) in sorted(models.items())]
        model = unquote(found["model"])
        if model not in models:
            raise Refusal(404, "UserError", f"Model container {model} was not found.")
        return list(models[model][1].values())


def _resource(id_: str, name: str, type_: str, created: datetime) -> Json:
    # Azure ML writes seven digits and an offset instead of milliseconds and Z.
    moment = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0+00:00")
    return {
        "id": id_,
        "name": name,
        "type": type_,
        "properties": {"description": None, "tags": {}, "properties": {}, "isArchived": False},
        "systemData": {"createdAt": moment, "createdBy": "A person", "createdByType": "User", "lastModifiedAt": moment},
    }


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
    parser.add_argument("--port", type=int, default=0, help="port to listen on; default: a free one")
    with Server(sample(), parser.parse_args().port) as server:
        print(f"Azure ML at {server.url}", flush=True)
        server.wait()


if __name__ == "__main__":
    main()

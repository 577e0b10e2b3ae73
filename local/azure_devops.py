"""Azure DevOps on this machine: classic releases and YAML pipelines, in memory, over HTTP as its SDK expects them."""

from __future__ import annotations

import argparse
import base64
from dataclasses import asdict, dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from local import azure_devops_page as page
from local import azure_devops_security as security
from local.azure_devops_definitions import definition_token
from local.azure_devops_entitlements import Entitlements
from local.azure_devops_faults import SIGN_IN_PATH, Fault, Faults, sign_in_page, to_sign_in
from local.azure_devops_http import (
    INVALID_REQUEST,
    NAMESPACE_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Call,
    Json,
    Refusal,
    find,
    json_of,
    list_of,
    routes,
)
from local.azure_devops_locations import RESOURCE_AREAS, RESOURCES, check_version
from local.azure_devops_pipelines import Pipelines
from local.azure_devops_release_api import Releases
from local.serving import Server, free_port

__all__ = ["AzureDevOps", "Fault", "Received", "definition_token", "sample"]


@dataclass(frozen=True)
class Received:
    """A request that was received."""

    method: str
    path: str
    body: str
    query: str = ""


class AzureDevOps(Releases):
    """One Azure DevOps, the same for every organization; an application for a Server."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Received] = []
        self.pipelines = Pipelines(self)
        self.entitlements = Entitlements()
        # With a token here, only this token can sign in.
        self._pat: str | None = None
        self._faults = Faults()
        self._api = routes(
            {
                "OPTIONS /{organization}/_apis": self._list_resources,
                "OPTIONS /{organization}/_apis/{area}": self._list_resources,
                "GET /{organization}/_apis/ResourceAreas": self._list_areas,
                "GET /{organization}/_apis/ResourceAreas/{area}": self._get_area,
                "GET /{organization}/_apis/permissions/{namespace}/{id}": self._has_permissions,
                **self.release_handlers(),
                **self.pipelines.handlers(),
                **self.entitlements.handlers(),
            }
        )
        self._local = routes(
            {
                "GET /": self._show_page,
                f"GET {SIGN_IN_PATH}": lambda _: sign_in_page(),
                "GET /{organization}/{project}/_release": self._show_page,
                "GET /{organization}/{project}/_build/results": self._show_page,
                "GET /_local/requests": lambda _: json_of([asdict(received) for received in self.requests]),
                "POST /_local/faults": self._add_faults,
                "POST /_local/definitions": lambda call: json_of(self.add_definition(**call.body)),
            }
        )

    def add_pipeline(self, project: str, name: str, **options: Any) -> Json:
        """Add a YAML pipeline and return it, to be changed by the caller; the options are those of `Pipelines.add`."""
        with self._lock:
            return self.pipelines.add(self.add_project(project), name, **options)

    @property
    def runs(self) -> list[Json]:
        """The runs of all pipelines, oldest first."""
        return self.pipelines.runs

    def misbehave(self, *faults: Fault) -> None:
        """Add faults; of those that match a request, the one added first happens."""
        self._faults.add(faults)

    def behave(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if found := find(self._local, request):
            handler, call = found
            with self._lock:
                return handler(call)
        received = Received(request.method, request.path, request.get_data(as_text=True), request.query_string.decode())
        with self._lock:
            self.requests.append(received)
        response = self._faults.take(request).answer(lambda: self._answer(request))
        if (response.location or "").startswith("/"):
            response.location = f"{request.host_url.rstrip('/')}{response.location}"
        return response

    def _answer(self, request: Request) -> Response:
        if not self._is_signed_in(request):
            return to_sign_in()
        try:
            handler, call = find(self._api, request) or (_refuse, Call(request))
            check_version(request)
            with self._lock:
                return handler(call)
        except Refusal as refusal:
            return json_of(refusal.body, refusal.status)
        except (AttributeError, TypeError, ValueError) as error:  # the body or a number in the query is wrong
            return json_of(Refusal(INVALID_REQUEST, str(error)).body, INVALID_REQUEST.status)

    def _is_signed_in(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "")
        if self._pat is None:
            return bool(given)
        return given in (f"Bearer {self._pat}", "Basic " + base64.b64encode(f":{self._pat}".encode()).decode())

    def _list_resources(self, call: Call) -> Response:
        area = call.area.lower()
        return list_of([resource.shown() for resource in RESOURCES if area in ("", resource.area.lower())])

    def _list_areas(self, call: Call) -> Response:
        return list_of([_area(number, call) for number in RESOURCE_AREAS])

    def _get_area(self, call: Call) -> Response:
        return json_of(_area(call.area.lower(), call) if call.area.lower() in RESOURCE_AREAS else None)

    def _has_permissions(self, call: Call) -> Response:
        namespace = call.namespace.lower()
        if namespace not in security.NAMESPACES:
            raise Refusal(NAMESPACE_NOT_FOUND, f"The security namespace {namespace} does not exist.")
        tokens = call.query["tokens"].split(call.query.get("delimiter", ","))
        return list_of([self.allows_bits(namespace, int(call.id), token) for token in tokens])

    def _add_faults(self, call: Call) -> Response:
        self.misbehave(*[Fault(**fields) for fields in call.request.get_json(force=True)])
        return Response(status=204)

    def _show_page(self, _: Call) -> Response:
        return Response(page.render(self.releases, self.runs), mimetype="text/html")


def _area(number: str, call: Call) -> Json:
    address = f"{call.request.host_url}{call.organization}/"
    return {"id": number, "name": RESOURCE_AREAS[number], "locationUrl": address}


def _refuse(call: Call) -> Response:
    raise Refusal(RESOURCE_NOT_FOUND, f"The controller for path '{call.request.path}' was not found.")


def sample() -> AzureDevOps:
    """Return an Azure DevOps with the targets of the sample release map."""
    azure_devops = AzureDevOps()
    model = {"ModelName": "", "ModelVersion": "", "ModelWorkspace": ""}
    azure_devops.add_definition(
        "fraud",
        "Deploy sklearn model",
        model_artifacts={"_sklearn_regression_model": "sklearn_regression_model"},
        variables=model,
        stages=("Staging", "Production"),
    )
    azure_devops.add_definition(
        "risk",
        "Deploy fraud model",
        id=42,
        path="\\models",
        variables={**model, "Stage": ""},
        stages=("Test", "Production"),
    )
    azure_devops.add_pipeline(
        "growth", "Deploy churn", parameters={"modelName": None, "modelVersion": None, "modelReleaseMarker": ""}
    )
    for version in ("18", "19"):
        azure_devops.add_model_version("sklearn_regression_model", version)
    return azure_devops


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.azure_devops", description="Serve a local Azure DevOps.")
    parser.add_argument("--port", type=free_port, default="0", help="port to listen on; default: a free one")
    with Server(sample(), parser.parse_args().port) as server:
        print(f"Azure DevOps at {server.url}/contoso", flush=True)
        server.wait()


if __name__ == "__main__":
    main()

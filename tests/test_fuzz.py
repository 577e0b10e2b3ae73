"""Any input: no fault of ours, no 500, and nothing is started that is not registered; `make fuzz` sends 100,000."""

import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

import azure.functions as func
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.wrappers import Request, Response

from local.azure_devops_locations import RESOURCES
from local.serving import Server
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.session import PatSignIn
from model_release.azure_ml.models import AzureMl, AzureMlError
from model_release.domain.events import MODEL_REGISTERED
from model_release.domain.release_map import load
from model_release.errors import AzureDevOpsError, ConfigurationError
from model_release.store.overview import Overview
from model_release.store.pending import LastSweep
from model_release.web.outcome import Outcomes
from model_release.web.records import Records
from model_release.web.timers import Timers
from tests.azure_devops.plans import MARKER, release_plan, run_plan
from tests.in_memory import CREDENTIAL, HOUR, NOON, WORKSPACE, Process, an_event, at_once
from triggers import pins, releases, targets

# Of all inputs of `make fuzz`, each test gets an equal part.
TESTS = 5
INPUTS = int(os.environ.get("FUZZ_INPUTS", "250"))
fuzzed = settings(
    max_examples=INPUTS // TESTS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TEXT = st.text(max_size=40) | st.sampled_from(
    ["churn", "20", "\u202e", "{version}", "../..", "%2F", "'", "\ud800", "\N{FULLWIDTH DIGIT NINE}"]
)
# The host passes on no text that is not Unicode; in JSON it can be escaped.
PASSED_ON = TEXT.map(lambda text: text.encode("utf-8", "replace").decode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["ModelName", "modelName", "ModelVersion", "ModelTags", "ModelProperties", "x"])
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "specversion": st.just("1.0") | JSON,
        "source": st.just(WORKSPACE.id) | JSON,
        "topic": st.just(WORKSPACE.id) | JSON,
        "type": st.just(MODEL_REGISTERED) | JSON,
        "eventType": st.just(MODEL_REGISTERED) | JSON,
        "subject": st.just("models/churn:20") | JSON,
        "data": st.dictionaries(KEYS, st.sampled_from(["churn", 20, "20", {"a": "b"}]) | JSON) | JSON,
    },
)


class NothingRegistered:
    """An Azure ML that has no version."""

    def model_version(self, *_: object) -> None:
        return None


@fuzzed
@given(EVENTS.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=200))
def test_a_delivery_starts_nothing_that_is_not_registered(body: str) -> None:
    process = Process(azure_ml=NothingRegistered())

    process.start_release.registered(body)

    assert process.azure_devops.created == []


# Nothing is started, so no outcome is read.
THREADS = ThreadPoolExecutor(1)


def functions_of(process: Process) -> dict[str, Any]:
    app = func.FunctionApp()
    overview = Overview(process.table, process.history, process.marks, process.clock)
    timers = Timers(frozenset(), LastSweep(process.table, process.clock), process.cursors, HOUR, process.clock)
    outcomes = Outcomes(process.azure_devops, THREADS)
    records = Records(process.claims, process.history, overview, process.throttle, timers, process.clock, {}, outcomes)
    releases.add_to(app, process.start_release, records, signs_people_in=False)
    pins.add_to(app, process.sweep, records, signs_people_in=False)
    targets.add_to(app, records)
    return {one.get_function_name(): one.get_user_function() for one in app.get_functions()}


FIELDS = st.sampled_from(
    ["action", "claim", "idempotency_key", "set_mark_back", "pin", "unpin", "since", "rebuild", "by", "comment", "x"]
)
VALUES = st.sampled_from(["match", "try", "start", "yes", "keep", "a" * 8]) | JSON
BODIES = (
    st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda fields: json.dumps(fields).encode("utf-8", "replace"))
    | st.binary(max_size=80)
    | st.just(b"")
)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["workspace", "model", "target", "state", "since", "ignored", "limit", "continuation", "done", "code"]
    ),
    PASSED_ON,
    max_size=4,
)
ACCEPTED = ["text/html", "application/json"]
HEADERS = st.fixed_dictionaries(
    {"Accept": st.sampled_from(ACCEPTED)},
    optional={
        "Content-Type": st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain"])
        | PASSED_ON,
        "Origin": st.sampled_from(["http://app", "null", "http://["]) | PASSED_ON,
        "Sec-Fetch-Site": PASSED_ON,
    },
)


@fuzzed
@given(st.sampled_from(["GET", "POST"]), st.just("churn") | PASSED_ON, PASSED_ON, PARAMETERS, HEADERS, BODIES)
def test_a_request_is_answered_and_never_with_500(
    method: str, model: str, version: str, parameters: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    process = Process(azure_ml=NothingRegistered())
    process.inserted()
    request = func.HttpRequest(
        method,
        "http://app/api/releases/x/y",
        headers=headers,
        params=parameters,
        body=body,
        route_params={"model": model, "version": version},
    )
    listed = func.HttpRequest("GET", "http://app/api/releases", headers=headers, params=parameters, body=b"")
    functions = functions_of(process)

    answers = [functions[name](request) for name in ("model_version", "pins", "targets")]
    answers.append(functions["releases"](listed))

    assert {answer.status_code for answer in answers} <= {200, 303, 400, 403, 404, 409, 415, 429, 503}
    assert process.azure_devops.created == []


ROUTES = st.dictionaries(
    st.sampled_from(
        ["model", "version", "name", "workspace", "tags", "properties", "order", "enabled", "release", "pipeline"]
    ),
    JSON | st.just({"project": "p", "definition": 1}) | st.just({"project": "p", "pipeline": "x"}),
    max_size=6,
)
MAPS = (
    st.fixed_dictionaries({"version": st.just(1) | JSON, "routes": st.lists(ROUTES, max_size=3) | JSON}).map(
        lambda content: yaml.safe_dump(content, allow_unicode=True)
    )
    | JSON.map(yaml.safe_dump)
    | st.text(max_size=200)
)


@fuzzed
@given(text=MAPS)
def test_a_map_is_read_or_its_faults_are_listed(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(text, "utf-8", errors="surrogatepass")

    with suppress(ConfigurationError):
        assert load(path).routes


# In an answer, this becomes the address of a server that must receive no request.
ELSEWHERE = "http://elsewhere"


class Scripted:
    """Answers each request with the same answer; OPTIONS as Azure DevOps does."""

    def __init__(self, elsewhere: str) -> None:
        self.elsewhere = elsewhere

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.status, self.content = status, content.replace(ELSEWHERE.encode(), self.elsewhere.encode())
        self.headers = {name: value.replace(ELSEWHERE, self.elsewhere) for name, value in headers.items()}

    def __call__(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            shown = [resource.shown() for resource in RESOURCES]
            return Response(json.dumps({"count": len(shown), "value": shown}), mimetype="application/json")
        return Response(self.content, self.status, self.headers)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Scripted, str]]:
    received: list[Request] = []

    def elsewhere(request: Request) -> Response:
        received.append(request)
        return Response()

    with Server(elsewhere) as other:
        scripted = Scripted(other.url)
        with Server(scripted) as running:
            yield scripted, running.url
    assert received == []


@pytest.fixture(scope="module")
def azure_ml(server: tuple[Scripted, str]) -> AzureMl:
    return AzureMl(CREDENTIAL, endpoint=server[1], pace=at_once())


@pytest.fixture(scope="module")
def azure_devops(server: tuple[Scripted, str]) -> AzureDevOps:
    """Return a client that remembers no target from one input to the next: an hour passes with each question."""
    hours = count(step=3600)
    return AzureDevOps(f"{server[1]}/contoso", PatSignIn("a token"), timeout=10, monotonic=lambda: next(hours))


PROPERTIES = st.fixed_dictionaries(
    {}, optional={"tags": JSON, "properties": JSON, "provisioningState": JSON, "isArchived": JSON}
)
LINKS = st.sampled_from([ELSEWHERE, f"{ELSEWHERE}/x?code=1", f"{ELSEWHERE}\\@own/", "?page=2"]) | TEXT
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | JSON,
        "name": st.just("churn") | JSON,
        "value": st.lists(JSON, max_size=3) | JSON,
        "count": JSON,
        "url": LINKS | JSON,
        "nextLink": LINKS | JSON,
        "error": JSON,
        "message": JSON,
        "typeKey": JSON,
        "properties": PROPERTIES | JSON,
        "systemData": st.just({"createdAt": "2026-01-01T00:00:00Z"}) | JSON,
        "_links": LINKS.map(lambda link: {"web": {"href": link}}) | JSON,
        "artifacts": JSON,
        "environments": JSON,
        "variables": JSON,
        "customProperties": JSON,
    },
)
CONTENT = (ANSWERS | JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
STATUSES = st.sampled_from([200, 200, 200, 201, 203, 302, 400, 401, 403, 404, 409, 418, 500])
ANSWER_HEADERS = st.sampled_from(
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/html"},
        {"Retry-After": "x"},
        {"Location": f"{ELSEWHERE}/x"},
        {"Content-Type": "application/json", "x-ms-continuationtoken": ""},
    ]
)


@fuzzed
@given(STATUSES, CONTENT, ANSWER_HEADERS)
def test_any_answer_of_azure_ml_is_read_or_reported(
    server: tuple[Scripted, str], azure_ml: AzureMl, status: int, content: bytes, headers: dict[str, str]
) -> None:
    server[0].answer(status, content, headers)

    with suppress(AzureMlError):
        azure_ml.model_version(WORKSPACE, "churn", "20")
    # A list is asked for again after such an answer, some seconds later.
    if status < 500:
        with suppress(AzureMlError):
            list(azure_ml.models(WORKSPACE, skip=str))
        with suppress(AzureMlError):
            list(azure_ml.versions(WORKSPACE, "churn", since=NOON, skip=str))


@fuzzed
@given(STATUSES, CONTENT, ANSWER_HEADERS, st.sampled_from([release_plan, run_plan]), st.sampled_from([7, "a"]))
def test_any_answer_of_azure_devops_is_read_or_reported(
    server: tuple[Scripted, str],
    azure_devops: AzureDevOps,
    status: int,
    content: bytes,
    headers: dict[str, str],
    plan: Any,
    definition: int | str,
) -> None:
    server[0].answer(status, content, headers)
    planned = plan(definition)

    with suppress(AzureDevOpsError):
        azure_devops.create(planned, an_event(), MARKER, math.inf)
    with suppress(AzureDevOpsError):
        azure_devops.find_by_marker(planned.target, 7, MARKER, NOON, math.inf)
    with suppress(AzureDevOpsError):
        azure_devops.stages(planned.target, 9)

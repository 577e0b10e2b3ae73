"""The HTTP API: history and model version detail as JSON and as pages, restarts, health, and docs/openapi.yaml."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from local import azurite
from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.functions_host import FunctionsHost
from local.functions_keys import Keys
from local.serving import HangUp, Server
from model_release.app import HOME, versions
from model_release.domain.events import Workspace
from model_release.text import shorten, visible
from tests.environment import (
    IN_AZURITE,
    IN_MEMORY,
    WORKSPACE,
    Environment,
    Size,
    event,
    kept_environment,
    multiply,
    register,
)

pytestmark = IN_MEMORY

MODEL = "sklearn_regression_model"
VERSION_20 = f"releases/{MODEL}/20"
KEY = "secret"
POST = {"method": "POST", "path": "/releases"}
IDEMPOTENCY_KEY = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DESCRIPTION = yaml.safe_load((HOME / "docs/openapi.yaml").read_text())
KEPT = "Event Grid keeps the events of new model versions for a day and delivers them again."
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></bdi><img src=x onerror=alert(1)>",
    "\"'><a href=javascript:alert(1)>",
    "&lt;b&gt; {{ 7 * 7 }} {% raw %}",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\N{POP DIRECTIONAL FORMATTING}",
    "<b>" + "x" * 10_000,
]


class Api:
    """A client of the app that validates each JSON answer against docs/openapi.yaml."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/api/"
        self.headers = {"Accept": "application/json", "x-functions-key": KEY}

    def send(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        headers = self.headers | options.pop("headers", {})
        answer = requests.request(method, self.url + path, headers=headers, allow_redirects=False, **options)
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            _validate_answer(answer.json(), path, method, answer.status_code)
        return answer

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return self.send(path, params=parameters).json()

    def post(self, path: str = VERSION_20, status: int = 200, **body: str) -> dict[str, Any]:
        answer = self.send(path, "POST", json=with_action(body))
        assert answer.status_code == status, answer.text
        return answer.json()

    def page(self, path: str, **options: Any) -> "HtmlPage":
        answer = self.send(path, headers={"Accept": BROWSER} | options.pop("headers", {}), **options)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        return HtmlPage(answer)


def with_action(body: dict[str, Any]) -> dict[str, Any]:
    """Name what the fields mean, unless the body says so or sets the mark back."""
    if body.keys() & {"action", "set_mark_back"}:
        return body
    action = "match" if "claim" not in body else "start" if "idempotency_key" in body else "try"
    return {"action": action, **body}


def _validate_answer(value: Any, path: str, method: str, status: int) -> None:
    of_a_model = {"releases/": "/releases/{model}/{version}", "pins/": "/pins/{model}"}
    plain = f"/{path.partition('?')[0]}"
    described = next((name for begin, name in of_a_model.items() if path.startswith(begin)), plain)
    answer = DESCRIPTION["paths"][described][method.lower()]["responses"][str(status)]
    _validate(value, _resolved(answer)["content"]["application/json"])


def _validate(value: Any, media: dict[str, Any]) -> None:
    schema = media["schema"] | {"components": DESCRIPTION["components"]}
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def _resolved(answer: dict[str, Any]) -> dict[str, Any]:
    name = answer.get("$ref", "").rpartition("/")[2]
    return DESCRIPTION["components"]["responses"][name] if name else answer


@dataclass
class HtmlPage(HTMLParser):
    """A page, parsed."""

    answer: requests.Response
    text: str = ""
    texts: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _open: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # https://html.spec.whatwg.org/multipage/syntax.html#optional-tags
        while self._open and self.tags[self._open[-1]][0] in {
            "td": ("td",),
            "tr": ("td", "tr"),
            "option": ("option",),
        }.get(tag, ()):
            self._open.pop()
        if tag not in ("meta", "link", "input", "wbr"):
            self._open.append(len(self.tags))
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        while (closed := self.tags[self._open.pop()][0]) != tag:
            assert closed in ("td", "tr", "option")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open:
            self.texts[self._open[-1]] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def texts_of(self, tag: str) -> list[str]:
        return [text for (name, _), text in zip(self.tags, self.texts, strict=True) if name == tag]

    @property
    def addresses(self) -> list[str]:
        """The addresses in this app that its links and forms have."""
        found = [a["href"] for a in self.all("a")] + [form["action"] for form in self.all("form") if "action" in form]
        return [address for address in found if not address.startswith(("http", "#"))]


@contextmanager
def served(env: Environment, **changes: str) -> Iterator[Api]:
    host = FunctionsHost(env.function_app(env.start(**changes) if changes else env.app), key=Keys(function=KEY))
    with host, Server(host) as server:
        yield Api(server.url)


@pytest.fixture
def api(env: Environment) -> Iterator[Api]:
    with served(env) as api:
        yield api


def first_claim(api: Api, path: str = VERSION_20) -> str:
    return api.get(path)["model_versions"][0]["claims"][0]["claim"]


def release_map(folder: Path, **route: Any) -> str:
    release = {"project": "fraud", "definition": "Deploy sklearn model"}
    path = folder / "map.yaml"
    path.write_text(json.dumps({"version": 1, "routes": [{"model": MODEL, "release": release} | route]}))
    return str(path)


# The outcome


def test_the_stages_of_a_release_are_read_when_asked(env: Environment, api: Api) -> None:
    register(env, 20)
    env.azure_devops.releases[0]["environments"][0]["status"] = "inProgress"
    sent = len(env.azure_devops.requests)

    (claim,) = api.get(VERSION_20)["model_versions"][0]["claims"]
    page = api.page(VERSION_20)
    assert claim["outcome"] is None
    assert len(env.azure_devops.requests) == sent
    (link,) = [one["href"] for one in page.all("a") if "outcome=yes" in one["href"]]

    assert "Stage Staging: in progress" in api.page(f"{VERSION_20}{link}").text
    (claim,) = api.get(VERSION_20, outcome="yes")["model_versions"][0]["claims"]
    assert claim["outcome"]["stages"][0] == {"name": "Staging", "status": "in progress", "approvals": []}
    assert "outcome: 'maybe' is not 'yes' or 'no'" in api.send(f"{VERSION_20}?outcome=maybe").text


# The next attempt


def test_an_attempt_that_is_due_begins_within_a_minute(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=503, times=1))
    register(env, 20)
    next_attempt = api.get(VERSION_20)["model_versions"][0]["claims"][0]["next_attempt"]

    env.clock.advance(hours=6)
    page = api.page(VERSION_20)

    assert "Next attemptwithin a minute" in page.text
    assert {"title": next_attempt.replace("T", " ").replace("Z", " UTC")} in page.all("dd")


# The advice


def test_advice_links_to_the_page_where_the_team_reads_operations(env: Environment, api: Api) -> None:
    register(env, 20)
    section = "docs/operations.md#the-release-exists-and-no-stage-runs"
    url = f"https://contoso.example/{section}"

    with served(env, OPERATIONS_URL="https://contoso.example/docs/operations.md") as linked:
        (entry,) = linked.get("releases")["entries"]
        (claim,) = linked.get(VERSION_20)["model_versions"][0]["claims"]
        page = linked.page(VERSION_20)

    assert [one["advice"]["url"] for one in (entry, claim)] == [url, url]
    assert {"href": url, "rel": "noreferrer"} in page.all("a")
    assert section in page.texts_of("a")
    (entry,) = api.get("releases")["entries"]
    assert (entry["advice"]["section"], entry["advice"]["url"]) == (section, None)
    assert section in api.page(VERSION_20).texts_of("small")


# docs/openapi.yaml


def test_the_description_is_valid_and_its_examples_match_their_schemas() -> None:
    validate(DESCRIPTION)

    for operations in DESCRIPTION["paths"].values():
        for operation in (operations[method] for method in ("get", "post") if method in operations):
            answers = [_resolved(answer) for answer in operation["responses"].values()]
            for has_content in [*answers, operation.get("requestBody", {})]:
                for media in has_content.get("content", {}).values():
                    _validate(media["example"], media)


def test_the_description_has_the_routes_and_methods_of_the_host(env: Environment) -> None:
    functions = [json.loads(function.get_function_json()) for function in env.function_app().get_functions()]
    routes = [f["bindings"][0] for f in functions if f["bindings"][0]["type"] == "httpTrigger"]

    described = {
        path: {name for name in operations if name in ("get", "head", "post")}
        for path, operations in DESCRIPTION["paths"].items()
    }
    assert {f"/{route['route']}": {m.lower() for m in route["methods"]} for route in routes} == described


# The history


def test_an_address_returns_json_if_only_json_is_accepted_and_otherwise_a_page(env: Environment, api: Api) -> None:
    register(env, 20)

    assert api.send("releases").headers["Content-Type"] == "application/json"
    for accept in (BROWSER, "*/*", f"{BROWSER},application/json"):
        page = api.page("releases", headers={"Accept": accept})
        assert page.answer.status_code == 200
        assert f"{MODEL}:20" in page.text


@IN_AZURITE
def test_the_continuation_returns_the_next_page(env: Environment, api: Api) -> None:
    register(env, *range(1, 6))

    first = api.get("releases", limit="2")
    second = api.get("releases", limit="2", continuation=first["continuation"])
    third = api.get("releases", limit="2", continuation=second["continuation"])

    seen = [[entry["version"] for entry in page["entries"]] for page in (first, second, third)]
    assert seen == [["5", "4"], ["3", "2"], ["1"]]
    assert third["continuation"] is None


# The history, the overview, the throttle, and two reads of the timers.
_REQUESTS_OF_A_PAGE = 5


def test_the_first_page_costs_the_same_at_any_size_of_the_history(tmp_path: Path, size: Size) -> None:
    with kept_environment(tmp_path) as env:
        assert _entries_and_requests_of_a_page(env)[0] == 0
        register(env, 1)
        env.sweep()
        assert _entries_and_requests_of_a_page(env) == (1, _REQUESTS_OF_A_PAGE)
    multiply(tmp_path, "history", size(1_100, 100_000))
    with kept_environment(tmp_path) as env:
        assert _entries_and_requests_of_a_page(env) == (50, _REQUESTS_OF_A_PAGE)


def _entries_and_requests_of_a_page(env: Environment) -> tuple[int, int]:
    with served(env) as api:
        api.page("releases")
        before = len(env.storage.passed)
        page = api.page("releases")
    return len(page.all("td")) // 4, len(env.storage.passed) - before


@IN_AZURITE
def test_the_parameters_filter_the_history(env: Environment, api: Api) -> None:
    register(env, 21, 20, 22)
    register(env, 1, model="churn")

    for parameters, found in (
        ({}, ["22", "20", "21"]),
        ({"model": "sklearn*"}, ["22", "20", "21"]),
        ({"model": "REGRESSION"}, ["22", "20", "21"]),
        ({"model": "regression*"}, []),
        ({"target": "FRAUD/", "workspace": "PROD"}, ["22", "20", "21"]),
        ({"target": "risk"}, []),
        ({"state": "open"}, []),
        ({"state": "superseded"}, ["20"]),
        ({"ignored": "yes"}, ["1", "22", "20", "21"]),
        ({"ignored": "no", "state": ""}, ["22", "20", "21"]),
        ({"state": "ignored", "model": "churn"}, ["1"]),
        ({"since": "0001-01-01", "until": "9999-12-30"}, ["22", "20", "21"]),
        ({"since": "2999-01-01"}, []),
        ({"until": "2000-01-01T00:00:00+02:00"}, []),
    ):
        assert [entry["version"] for entry in api.get("releases", **parameters)["entries"]] == found, parameters


def test_a_day_is_included_completely_and_a_time_is_exact(env: Environment, api: Api) -> None:
    env.clock.now = env.clock.now.replace(hour=12, minute=0, second=0, microsecond=0)
    register(env, 20)
    day = env.clock().date().isoformat()

    for parameters, found in (
        ({"since": day, "until": day}, 1),
        ({"since": f"{day}T12:00"}, 1),
        ({"since": f"{day} 12:00:01"}, 0),
        ({"until": f"{day} 11:59"}, 0),
        ({"until": f"{day}T12:00:00Z"}, 1),
    ):
        assert len(api.get("releases", **parameters)["entries"]) == found, parameters


def test_all_invalid_parameters_are_reported_at_once(api: Api) -> None:
    invalid = {
        "model": "\N{RIGHT-TO-LEFT MARK}",
        "target": "a" * 256,
        "state": "done",
        "since": "yesterday",
        "until": "9999-99-99",
        "ignored": "maybe",
        "continuation": "yes",
        "limit": "201",
    }

    answer = api.send("releases", params=invalid)
    page = api.page("releases", params=invalid)

    assert answer.status_code == page.answer.status_code == 400
    for name, value in invalid.items():
        assert f"{name}: {shorten(value)!r}" in answer.json()["error"]
    assert visible(answer.json()["error"]) in page.texts


@pytest.mark.parametrize("path", ["releases", "targets"])
def test_an_unknown_parameter_is_a_fault_and_the_form_is_kept(api: Api, path: str) -> None:
    asked = {"stat": "refused", "model": "fraud", "state": "nothing"}

    answer, page = api.send(path, params=asked), api.page(path, params=asked)

    assert answer.status_code == page.answer.status_code == 400
    assert "stat: unknown parameter; expected one of model, target, workspace, state" in answer.json()["error"]
    assert {field["name"]: field.get("value") for field in page.all("input")}["model"] == "fraud"


def test_an_invalid_limit_is_refused_with_its_bounds(api: Api) -> None:
    for limit in ("0", "-1", "many", "9" * 5_000):
        answer = api.send("releases", params={"limit": limit})

        assert answer.status_code == 400
        assert "is not a whole number from 1 to 200" in answer.json()["error"]
        assert len(answer.json()["error"]) < 300


def test_the_reason_of_an_ignored_event_contains_the_values_of_its_tags(env: Environment, tmp_path: Path) -> None:
    reason = "tag stage is 'test', not 'production'"
    with served(env, RELEASE_MAP=release_map(tmp_path, tags={"stage": "production"})) as api:
        env.restart(RELEASE_MAP=str(tmp_path / "map.yaml"))
        env.registered(event(ModelTags={"stage": "test"}))

        (entry,) = api.get("releases", ignored="yes")["entries"]
        (detail,) = api.get(VERSION_20)["model_versions"]
        history, page = api.page("releases?ignored=yes"), api.page(VERSION_20)

    assert (entry["state"], entry["reason"]) == ("ignored", reason)
    assert (detail["ignored"]["reason"], detail["ignored"]["reason_kind"]) == (reason, "other_value")
    assert detail["routes"] == [{"route": MODEL, "matches": False, "reason": reason}]
    assert reason in history.texts
    assert page.texts.count(reason) == 2


# The model version detail


def test_a_model_version_has_claims_attempts_routes_and_the_event(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 20)
    env.later(minutes=2)

    (detail,) = api.get(VERSION_20)["model_versions"]

    assert detail["workspace"] == Workspace.parse(WORKSPACE).id
    (claim,) = detail["claims"]
    assert [(attempt["attempt"], attempt["state"]) for attempt in claim["attempts"]] == [(1, "waiting"), (2, "started")]
    assert claim["release"]["name"] == "Release-1"
    assert [(route["route"], route["matches"]) for route in detail["routes"]] == [
        (MODEL, True),
        ("fraud models to production", False),
    ]
    assert detail["event"] == json.loads(event(version="20"))


@pytest.mark.parametrize("kind", ["workspaces", "registries"])
def test_each_workspace_and_registry_has_its_own_records_of_a_model_version(env: Environment, kind: str) -> None:
    dev = WORKSPACE.replace("workspaces/prod", f"{kind}/dev")
    settings = {"AML_REGISTRIES": dev} if kind == "registries" else {"AML_WORKSPACES": f"{WORKSPACE},{dev}"}
    env.restart(**settings)
    with served(env, **settings) as api:
        for body in (event(), event().replace(WORKSPACE, dev)):
            env.registered(body)

        assert {detail["workspace"] for detail in api.get(VERSION_20)["model_versions"]} == {
            WORKSPACE.lower(),
            dev.lower(),
        }
        for name in ("dev", "DEV", dev, dev.upper()):
            (detail,) = api.get(VERSION_20, workspace=name)["model_versions"]
            assert detail["workspace"] == dev.lower()
        assert "set `workspace` to one of dev, prod" in api.post(status=400)["error"]
        claim = detail["claims"][0]["claim"]
        assert api.post(f"{VERSION_20}?workspace=dev", claim=claim, idempotency_key=IDEMPOTENCY_KEY)["entries"]

    assert env.versions == ["20"] * 3


def test_a_model_version_that_is_not_recorded_is_not_found(env: Environment, api: Api) -> None:
    register(env, 20)

    for path, status in (
        (f"{VERSION_20}?workspace=dev", 404),
        (f"{VERSION_20}?workspace=/subscriptions/x", 400),
        (f"releases/%22%3E%3Cscript%3E/{'9' * 5_000}", 404),
        ("releases/..%5C..%5C/'%20or%20'1'='1", 404),
    ):
        answer, page = api.send(path), api.page(path)

        assert answer.status_code == page.answer.status_code == status
        assert answer.json()["error"] in page.texts
        assert api.send(path, "POST", json={}).status_code == status


# Restart, try now, match again


@IN_AZURITE
def test_repeating_an_idempotency_key_restarts_nothing_more(env: Environment, api: Api) -> None:
    register(env, 20)
    claim = first_claim(api)

    entries = [
        api.post(claim=claim, idempotency_key=key)["entries"][0]
        for key in (IDEMPOTENCY_KEY, IDEMPOTENCY_KEY, "another-key")
    ]

    assert [entry["release"]["name"] for entry in entries] == ["Release-2", "Release-2", "Release-3"]
    assert env.versions == ["20"] * 3
    restarts = [claim["restart"] for claim in api.get(VERSION_20)["model_versions"][0]["claims"]]
    assert restarts == [False, True, True]


def test_a_pending_claim_is_tried_now_and_a_final_one_only_returned(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=403, times=1))
    register(env, 20)
    claim = first_claim(api)

    for _ in range(2):
        (entry,) = api.post(claim=claim)["entries"]
        assert (entry["state"], entry["release"]["name"]) == ("started", "Release-1")

    assert env.versions == ["20"]


def test_the_idempotency_key_ignored_does_not_make_a_version_ignored(env: Environment, api: Api) -> None:
    register(env, 20)

    api.post(claim=first_claim(api), idempotency_key="was-ignored")

    (detail,) = api.get(VERSION_20)["model_versions"]
    assert [claim["restart"] for claim in detail["claims"]] == [False, True]
    assert detail["ignored"] is None


def test_a_pending_claim_is_not_restarted(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 20)

    error = api.post(status=409, claim=first_claim(api), idempotency_key=IDEMPOTENCY_KEY)["error"]

    assert error == "this claim is waiting; to try it now, set `action` to 'try'"
    assert env.versions == []


def test_a_claim_that_another_worker_has_leased_is_not_attempted(env: Environment, api: Api) -> None:
    env.claim(event())

    for body in ({"claim": first_claim(api)}, {}):
        error = api.post(status=409, **body)["error"]
        assert error == "another worker is processing this claim; try again in a moment"

    assert env.versions == []


def test_a_version_without_a_route_is_not_restarted(env: Environment, tmp_path: Path) -> None:
    register(env, 20)

    with served(env, RELEASE_MAP=release_map(tmp_path, model="other")) as api:
        error = api.post(status=409, claim=first_claim(api), idempotency_key=IDEMPOTENCY_KEY)["error"]

    no_route = f"no route for {MODEL}:20 leads to fraud/1 now: no route names the model {MODEL}"
    assert error.startswith(f"{no_route}; matched with the tags (area = diabetes")
    assert error.endswith("; change the release map and deploy it, or change the tags in Azure ML")
    assert env.versions == ["20"]


def test_an_ignored_version_starts_once_a_route_matches_it(env: Environment, api: Api, tmp_path: Path) -> None:
    register(env, 20, model="churn")
    (ignored,) = api.post("releases/churn/20")["entries"]
    assert ignored["state"] == "ignored"
    assert ignored["reason"].startswith("no route names the model churn; matched with the tags (area = diabetes")
    assert api.get("releases/churn/20")["model_versions"][0]["ignored"]["reason"] == ignored["reason"]
    env.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})

    release = {"project": "growth", "definition": "Churn"}
    with served(env, RELEASE_MAP=release_map(tmp_path, model="churn", release=release)) as api_with_route:
        for _ in range(2):
            (entry,) = api_with_route.post("releases/churn/20")["entries"]
            assert entry["state"] == "started"

    assert env.versions == ["20"]


def test_a_version_that_no_event_announced_is_started_as_it_is_in_azure_ml(env: Environment, azure_ml: AzureMl) -> None:
    azure_ml.add_version(WORKSPACE, MODEL, "20", created=env.clock(), tags={"stage": "production"})
    with served(env) as api:
        for already in ("", "already recorded: "):
            (entry,) = api.post(idempotency_key=IDEMPOTENCY_KEY)["entries"]
            matched = "matched with the tags (stage = production) and properties (none) in Azure ML now"
            assert entry["reason"] == f"{already}route {MODEL} matches {MODEL}:20; {matched}"
        claim = first_claim(api)
        assert api.post(claim=claim, idempotency_key=IDEMPOTENCY_KEY)["entries"][0]["state"] == "started"
    env.registered(event())

    assert env.versions == ["20"]


def test_a_version_is_started_as_it_is_in_azure_ml_from_its_page(env: Environment, azure_ml: AzureMl) -> None:
    azure_ml.add_version(WORKSPACE, MODEL, "20", created=env.clock())
    with served(env) as api:
        page = api.page(VERSION_20)
        assert page.answer.status_code == 404
        (form,) = page.all("form")
        fields = {field["name"]: field["value"] for field in page.all("input")}
        address, headers = urljoin(page.answer.url, form["action"]), api.headers | {"Accept": BROWSER}
        answer = requests.post(address, data=fields, headers=headers)

    assert f"route {MODEL} matches {MODEL}:20" in answer.text
    assert env.versions == ["20"]


def test_a_version_that_azure_ml_does_not_confirm_is_not_started(env: Environment, azure_ml: AzureMl) -> None:
    with served(env) as api:
        problem = f"Azure ML has no version 20 of {MODEL}; compare it with workspace prod"
        assert api.post(status=409)["error"] == problem
        azure_ml.add_version(WORKSPACE, MODEL, "20", created=env.clock())
        azure_ml.set_state(WORKSPACE, MODEL, "20", "Creating")
        assert "is Creating in Azure ML, not Succeeded; try again" in api.post(status=409)["error"]
        azure_ml.misbehave(Fault(path="/versions", status=403))
        assert "Microsoft.MachineLearningServices/workspaces/models/versions/read" in api.post(status=503)["error"]
        page = api.page(VERSION_20, method="POST", data={"action": "match"})
    with served(env, CONFIRM_MODELS="false") as api:
        error = api.post(status=409)["error"]
    two = f"{WORKSPACE},{WORKSPACE[:-4]}dev"
    with served(env, AML_WORKSPACES=two) as api:
        assert "set `workspace` to one of dev, prod" in api.post(status=400)["error"]

    assert "Nothing was started" in page.text
    unread = f"{MODEL}:20 is not recorded, and it is not read from Azure ML: CONFIRM_MODELS is false"
    assert error == f"{unread}; set CONFIRM_MODELS to true, or register the version again"
    assert (env.history, env.versions) == ([], [])


def test_an_invalid_request_starts_nothing(env: Environment, api: Api) -> None:
    register(env, 20)
    claim = first_claim(api)

    for body, status, error in (
        ({"claim": "0" * 32}, 404, "has no claim"),
        ({"claim": "<b>", "idempotency_key": IDEMPOTENCY_KEY}, 404, "has no claim <b>"),
        ({"action": "match", "idempotency_key": "short"}, 400, "8 to 64"),
        ({"action": "start", "idempotency_key": IDEMPOTENCY_KEY}, 400, "action 'start' needs `claim`"),
        ({"action": "start"}, 400, "action 'start' needs `claim`; action 'start' needs `idempotency_key`"),
        ({"action": "match", "claim": claim}, 400, "action 'match' has no `claim`; leave it out"),
        ({"action": "try", "claim": claim, "idempotency_key": "x"}, 400, "has no `idempotency_key`; leave it out"),
        ({"action": "Start", "claim": claim}, 400, "action: 'Start' is not 'match', 'try' or 'start'"),
        ({"action": None}, 400, "`action` is missing; set it to 'match', 'try' or 'start'"),
        ({"claim": claim, "idempotency_key": "short"}, 400, "8 to 64"),
        ({"claim": claim, "idempotency_key": "a key with spaces"}, 400, "8 to 64"),
        ([], 400, "not a form or a JSON object"),
        ("no", 400, "not a form or a JSON object"),
    ):
        answer = api.send(VERSION_20, "POST", json=with_action(body) if isinstance(body, dict) else body)
        assert answer.status_code == status
        assert error in answer.json()["error"]
    for content in (b"\xff\xfe", b"[" * 100_000):
        answer = api.send(VERSION_20, "POST", data=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400

    assert env.versions == ["20"]


def test_a_restart_needs_the_key_and_no_page_of_another_site_can_send_it(env: Environment, api: Api) -> None:
    register(env, 20)
    claim, own = first_claim(api), api.url.removesuffix("/api/")

    for number, (headers, status) in enumerate(
        (
            ({"x-functions-key": ""}, 401),
            ({"x-functions-key": "wrong"}, 401),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://["}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Origin": own}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": own.replace("http:", "https:")}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 403),
            ({"Sec-Fetch-Site": "none", "Origin": "null"}, 403),
            ({"Origin": own.replace("http:", "https:")}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": own}, 200),
            ({"Origin": own}, 200),
            ({}, 200),
        )
    ):
        before = len(env.versions)
        body = {"action": "start", "claim": claim, "idempotency_key": f"key-number-{number}"}
        assert api.send(VERSION_20, "POST", json=body, headers=headers).status_code == status, headers
        assert len(env.versions) == before + (status == 200)


def test_the_form_restarts_once_and_leads_back_to_the_model_version(env: Environment, api: Api) -> None:
    register(env, 20)
    page = api.page(f"{VERSION_20}?code={KEY}", headers={"x-functions-key": ""})
    (form,) = page.all("form")
    fields = {field["name"]: field.get("value", "") for field in page.all("input")}
    assert set(fields) == {"action", "claim", "idempotency_key", "pin", "by", "comment"}
    del fields["pin"]  # a checkbox that is not checked is not sent
    assert page.answer.headers["Cache-Control"] == "no-store"

    for _ in range(2):
        answer = requests.post(
            urljoin(page.answer.url, form["action"]), data=fields, headers={"Accept": BROWSER}, allow_redirects=False
        )
        assert answer.status_code == 303
        assert answer.headers["Cache-Control"] == "no-store"
        location = answer.headers["Location"]
        assert not urlsplit(location).netloc
        after = HtmlPage(requests.get(urljoin(answer.url, location), headers={"Accept": BROWSER}))
        assert after.answer.status_code == 200
        assert "Release-2" in after.text

    assert env.versions == ["20"] * 2


def in_chunks(content: bytes) -> Iterator[bytes]:
    yield content


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, 400),
        ({"json": {}}, 400),
        ({"data": in_chunks(b'{"action": "match"}'), "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"data": b'{"action": "match"}'}, 415),
        ({"data": b'{"action": "match"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"files": {"action": "match"}}, 415),
        ({"json": {"action": "match"}, "headers": {"Content-Type": "APPLICATION/JSON; charset=utf-8"}}, 200),
        ({"data": {"action": "match"}}, 303),
    ],
    ids=range(10),
)
def test_a_body_names_what_is_wanted_or_nothing_starts(
    env: Environment, api: Api, options: dict[str, Any], status: int
) -> None:
    register(env, 20)
    before = env.versions
    headers = options.pop("headers", {}) | ({"Accept": BROWSER} if status == 303 else {})

    assert api.send(VERSION_20, "POST", headers=headers, **options).status_code == status
    assert env.versions == before


def test_a_person_may_start_a_version_ten_times_an_hour(env: Environment, api: Api) -> None:
    register(env, 20)
    claim = first_claim(api)
    keys = [f"key-number-{number}" for number in range(10)]
    for key in keys:
        api.post(claim=claim, idempotency_key=key)

    error = api.post(status=429, claim=claim, idempotency_key="one-more-key")["error"]
    repeated = api.post(claim=claim, idempotency_key=keys[0])
    env.clock.advance(hours=1, seconds=1)
    api.post(claim=claim, idempotency_key="one-more-key")

    assert error == f"{MODEL}:20 was started manually at fraud/1 10 times in the last hour; try again later"
    assert repeated["entries"][0]["release"]["name"] == "Release-2"
    assert len(env.versions) == 12


def test_a_person_may_not_try_a_pending_claim_without_a_pause(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=403))
    register(env, 20)
    claim = first_claim(api)

    statuses = [api.send(VERSION_20, "POST", json={"action": "try", "claim": claim}).status_code for _ in range(12)]

    assert statuses == [200] * 9 + [429] * 3


def test_a_digit_of_another_script_is_not_a_digit(api: Api) -> None:
    five = "\N{FULLWIDTH DIGIT FIVE}"
    for parameters in ({"limit": five}, {"limit": "1_0"}, {"continuation": f"{five * 16} {'0' * 32}"}):
        assert api.send("releases", params=parameters).status_code == 400


def test_health_answers_head(api: Api) -> None:
    answer = requests.head(f"{api.url}health", headers=api.headers, timeout=30)

    assert answer.status_code in (200, 503)
    assert answer.content == b""


# Set the high-water mark back

VERSION_25 = f"releases/{MODEL}/25"
SET_BACK = {"set_mark_back": "yes", "by": " Ada ", "comment": "99999 was a mistake"}
SET_BACK_REASON = "high-water mark set back from version 99999 by Ada: 99999 was a mistake"


@IN_AZURITE
def test_a_newer_version_starts_after_the_mark_was_set_back(env: Environment, api: Api) -> None:
    register(env, 99999, 25)

    (entry,) = api.post(VERSION_25, claim=first_claim(api, VERSION_25), **SET_BACK)["entries"]
    register(env, 26)

    assert (entry["version"], entry["state"], entry["reason"]) == ("25", "superseded", SET_BACK_REASON)
    assert entry in api.get("releases")["entries"]
    assert env.versions == ["99999", "26"]


def test_all_problems_of_setting_the_mark_back_are_reported_at_once(env: Environment, api: Api) -> None:
    register(env, 99999, 25)
    claim = first_claim(api, VERSION_25)
    by, comment = "is not 1 to 100 printable characters", "is not 1 to 500 printable characters"

    for body, problems in (
        (
            {"set_mark_back": "no", "idempotency_key": IDEMPOTENCY_KEY},
            [
                "set_mark_back: 'no' is not 'yes'",
                "`set_mark_back` needs the `claim` of the version",
                "`set_mark_back` starts nothing; leave out `idempotency_key`",
                f"by: '' {by}",
                f"comment: '' {comment}",
            ],
        ),
        (
            {"claim": claim, "by": " \n", "comment": "two\nlines"},
            [f"by: '' {by}", f"comment: 'two\ufffdlines' {comment}"],
        ),
        ({"claim": claim, "by": "a" * 101, "comment": "a" * 501}, ["by: 'aaa", by, "comment: 'aaa", comment]),
        ({"claim": claim, "by": "\u202eadA"}, [f"by: '\ufffdadA' {by}"]),
        ({"claim": claim, "idempotency_key": IDEMPOTENCY_KEY}, ["leave out `idempotency_key`"]),
    ):
        error = api.post(VERSION_25, 400, **SET_BACK | {"by": "", "comment": ""} | body)["error"]
        assert [problem for problem in problems if problem not in error] == []
    register(env, 26)

    assert env.versions == ["99999"]


def test_texts_of_the_greatest_length_are_accepted(env: Environment, api: Api) -> None:
    register(env, 99999, 25)
    body = SET_BACK | {"by": "å" * 100, "comment": f"  {'b' * 500}\n"}

    (entry,) = api.post(VERSION_25, claim=first_claim(api, VERSION_25), **body)["entries"]

    assert entry["reason"].endswith(f"by {'å' * 100}: {'b' * 500}")


def test_a_mark_that_is_not_above_the_version_is_not_set_back(env: Environment, api: Api) -> None:
    register(env, 25, "a")

    for version in ("25", "a"):
        path = f"releases/{MODEL}/{version}"
        error = api.post(path, 409, claim=first_claim(api, path), **SET_BACK)["error"]
        assert error == f"the high-water mark of fraud/1 is not above version {version}"

    assert api.post(VERSION_25, 404, claim="0" * 32, **SET_BACK)["error"] == f"{MODEL}:25 has no claim {'0' * 32}"
    assert len(api.get("releases")["entries"]) == 2


def test_a_page_of_another_site_does_not_set_the_mark_back(env: Environment, api: Api) -> None:
    register(env, 99999, 25)
    body = {"claim": first_claim(api, VERSION_25), **SET_BACK}

    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert api.send(VERSION_25, "POST", data=body, headers=headers).status_code == 403
    register(env, 26)

    assert env.versions == ["99999"]


def test_the_form_sets_the_mark_back_and_leads_back_to_the_model_version(env: Environment, api: Api) -> None:
    register(env, 99999, 25)
    assert "Set the high-water mark back" not in api.page(f"releases/{MODEL}/99999").text
    page = api.page(VERSION_25)
    form = page.all("form")[-1]
    fields = {
        field["name"]: field.get("value", "") for field in page.all("input") if field["name"] != "idempotency_key"
    }
    assert fields.items() >= {"set_mark_back": "yes", "by": "", "comment": ""}.items()

    answer = api.send(VERSION_25 + form["action"], "POST", data=fields | SET_BACK, headers={"Accept": BROWSER})

    assert answer.status_code == 303
    after = HtmlPage(
        requests.get(urljoin(answer.url, answer.headers["Location"]), headers=api.headers | {"Accept": "*/*"})
    )
    assert SET_BACK_REASON in after.texts
    assert SET_BACK_REASON in api.page("releases").texts
    assert env.versions == ["99999"]


# The pages


def test_every_link_contains_the_key_of_the_address_if_it_has_one(env: Environment, api: Api) -> None:
    register(env, 20, 21, 22)
    register(env, 1, model="churn")
    continuation = api.get("releases", limit="1")["continuation"].replace(" ", "+")

    for path in (
        "releases?ignored=yes",
        f"releases?limit=1&continuation={continuation}",
        "releases?model=none",
        "releases?limit=x",
        VERSION_20,
        "releases/churn/1",
    ):
        with_key = api.page(f"{path}{'&' if '?' in path else '?'}code={KEY}", headers={"x-functions-key": ""})
        without = api.page(path)
        assert len(with_key.addresses) == len(without.addresses) > 0
        assert not any("code=" in address for address in without.addresses)
        assert all(f"code={KEY}" in address for address in with_key.addresses)
        hidden = {"type": "hidden", "name": "code", "value": KEY}
        for form in with_key.all("form"):
            assert form["method"] == "post" or hidden in with_key.all("input")


@IN_AZURITE
def test_every_link_opens(env: Environment, api: Api) -> None:
    register(env, 20)
    env.sweep()

    for path in (
        "targets",
        "targets/",
        "targets?limit=x",
        "releases",
        "releases/",
        VERSION_20,
        f"{VERSION_20}/",
        "releases/churn/7",
        "releases?limit=x",
    ):
        page = api.page(path)
        links = [a["href"] for a in page.all("a") if not a["href"].startswith(("http", "#"))]
        assert links
        for address in links:
            assert requests.get(urljoin(page.answer.url, address), headers=api.headers).status_code == 200


def test_a_page_allows_no_script_and_is_not_cached(env: Environment, api: Api) -> None:
    register(env, 20)

    for path in ("releases", VERSION_20, "releases/churn/7", "releases?limit=x"):
        page = api.page(path)
        headers = page.answer.headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        digests = {
            f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
            for style in page.texts_of("style")
        }
        assert policy["default-src"] == "'none'"
        assert digests <= set(policy["style-src"].split())
        assert "unsafe" not in policy["style-src"]
        assert policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "script-src" not in policy
        assert headers["Referrer-Policy"] == "same-origin"
        # Going back must show the form with the idempotency key that was sent. JSON is not stored at all.
        for answer, caching in ((page.answer, "private, no-cache"), (api.send(path), "no-store")):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == caching


def test_foreign_text_is_shown_as_text(env: Environment, tmp_path: Path) -> None:
    routes = [
        {"name": text, "model": f"model{number}", "release": {"project": "risk", "definition": 42}}
        for number, text in enumerate(HOSTILE)
    ]
    (tmp_path / "map.yaml").write_text(json.dumps({"version": 1, "routes": routes}))
    env.restart(RELEASE_MAP=str(tmp_path / "map.yaml"))
    with served(env, RELEASE_MAP=str(tmp_path / "map.yaml")) as api:
        bodies = [event(f"model{number}", ModelTags={text: text}) for number, text in enumerate(HOSTILE)]
        for text, body in zip(HOSTILE, bodies, strict=True):
            env.azure_devops.behave()
            env.azure_devops.misbehave(Fault(**POST, status=403, body={"message": text}))
            env.registered(body)
            env.registered(json.dumps(json.loads(body) | {"subject": text, "eventType": "none", "data": {}}))

        history = api.page("releases?ignored=yes")
        details = [api.page(f"releases/model{number}/20") for number in range(len(HOSTILE))]

    for page in (history, *details):
        assert page.answer.status_code == 200
        assert not page.all("script") + page.all("img") + page.all("iframe")
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert not [a for a in page.all("a") if "javascript" in a["href"]]
    for text, body, detail in zip(HOSTILE, bodies, details, strict=True):
        # Once as the reason, and once as the subject of an event of another type.
        assert history.texts.count(shorten(text)) == 2
        assert shorten(text) in detail.texts
        assert visible(text) in detail.texts  # the route's name
        assert [json.loads(shown) for shown in detail.texts_of("pre")] == [json.loads(body)]


def test_a_hostile_address_is_shown_as_text(env: Environment) -> None:
    register(env, 20)
    host = FunctionsHost(env.function_app())
    with host, Server(host) as server:
        for path in ("releases", VERSION_20):
            params = {"code": HOSTILE[0]} | ({} if path == "releases" else {"done": HOSTILE[1]})
            page = Api(server.url).page(path, params=params)
            assert page.answer.status_code == 200
            assert not page.all("script") + page.all("img")


# Storage fails


@IN_AZURITE
def test_a_storage_failure_is_reported_as_json_and_as_a_page(env: Environment, api: Api) -> None:
    env.storage.down = True

    answer, page, post = api.send("releases"), api.page(VERSION_20), api.send(VERSION_20, "POST", json={})

    assert answer.status_code == page.answer.status_code == post.status_code == 503
    problem = f"storage cannot be reached: connection closed before the answer. {KEPT}"
    assert answer.json() == post.json() == {"error": problem}
    assert problem in page.texts


@IN_AZURITE
def test_a_page_says_that_nothing_was_started_only_if_that_is_certain(env: Environment, api: Api) -> None:
    register(env, 20)
    fields = {"action": "start", "claim": first_claim(api), "idempotency_key": IDEMPOTENCY_KEY}
    refused = api.page(VERSION_20, method="POST", data=fields, headers={"Sec-Fetch-Site": "cross-site"})

    def fail_after_the_release_was_created(*_: str) -> None:
        if len(env.versions) > 1:
            raise HangUp

    env.storage.gate = fail_after_the_release_was_created
    failed = api.page(VERSION_20, method="POST", data=fields)

    assert (refused.answer.status_code, failed.answer.status_code) == (403, 503)
    assert env.versions == ["20"] * 2
    assert "Nothing was started" in refused.text
    assert "Nothing was started" not in failed.text


@IN_AZURITE
def test_a_storage_failure_is_reported_without_python_exception_text(env: Environment) -> None:
    # Nothing listens on a port that is only bound, and nobody else can use it.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{bound.getsockname()[1]}"
        storage = azurite.connection_string(nowhere, "devstoreaccount1")
        with served(env, AzureWebJobsStorage=storage) as api:
            answers = [api.send("releases"), api.send(VERSION_20), api.send(VERSION_20, "POST", json={})]
            page, health = api.page("releases"), api.send("health")

    problem = f"storage cannot be reached: connection refused. {KEPT}"
    assert [(answer.status_code, answer.json()) for answer in answers] == [(503, {"error": problem})] * 3
    assert (page.answer.status_code, health.status_code) == (503, 503)
    assert problem in page.texts
    for part in ("storage", "sweep", "catch_up"):
        assert health.json()[part] == {"ok": False, "error": problem}
    for text in (page.answer.text, health.text):
        assert [word for word in ("Error", "Errno", "HTTPConnection", "urllib3", "Traceback") if word in text] == []


# Health


PROD = WORKSPACE.lower()


@IN_AZURITE
def test_a_healthy_app_reports_each_part(env: Environment, api: Api) -> None:
    env.sweep()
    now = f"{env.clock():%Y-%m-%dT%H:%M:%SZ}"

    assert api.get("health") == {
        "versions": versions(),
        "healthy": True,
        "storage": {"ok": True, "pending_claims": 0, "oldest_pending_seconds": None},
        "release_map": {"ok": True, "routes": 2},
        "azure_devops": {"ok": True, "projects": ["fraud", "risk"]},
        "confirmation": {"ok": True, "confirm_models": False},
        "sweep": {"ok": True, "last": now, "attempts": 0},
        "catch_up": {"ok": True, "workspaces": [{"workspace": PROD, "last": None, "problem": None}]},
    }


def test_health_shows_the_timers_and_is_not_ok_when_they_stop(env: Environment, api: Api) -> None:
    # Nothing answers for Azure Resource Manager here.
    began = f"{env.clock():%Y-%m-%dT%H:%M:%SZ}"
    env.app.catch_up.run()
    env.sweep()
    env.clock.advance(minutes=11)

    answer = api.send("health")

    assert answer.status_code == 503
    assert answer.json()["sweep"] == {
        "ok": False,
        "error": f"the last sweep ended at {began}; read the log of unfinished_releases",
    }
    catch_up = answer.json()["catch_up"]
    (listed,) = catch_up["workspaces"]
    assert (listed["workspace"], listed["last"], catch_up["ok"]) == (PROD, began, False)
    assert listed["problem"].startswith("the model versions of workspace prod cannot be read: ")
    assert catch_up["error"] == f"workspace prod was never listed completely; {listed['problem']}"


def test_health_reports_the_age_of_the_oldest_pending_claim(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429))
    register(env, 20)
    env.clock.advance(hours=2)
    register(env, 21)
    register(env, 1, model="churn")
    last_sweep = env.app.sweep.last_sweep
    last_sweep.end(last_sweep.begin(env.app.sweep.lease), 0)

    assert api.get("health")["storage"] == {"ok": True, "pending_claims": 2, "oldest_pending_seconds": 7203}


@IN_AZURITE
def test_an_app_without_storage_is_not_healthy(env: Environment, api: Api) -> None:
    env.storage.down = True

    answer = api.send("health")

    assert answer.status_code == 503
    parts = {name: part for name, part in answer.json().items() if name not in ("healthy", "versions")}
    assert {name for name, part in parts.items() if not part["ok"]} == {"storage", "sweep", "catch_up"}
    assert {name for name, part in parts.items() if part["ok"]} == {"release_map", "azure_devops", "confirmation"}


def test_an_app_whose_sign_in_azure_devops_does_not_accept_is_not_healthy(env: Environment, api: Api) -> None:
    env.azure_devops.misbehave(Fault(sign_in=True))

    answer = api.send("health")

    assert answer.status_code == 503
    assert answer.json()["healthy"] is False
    assert "sign-in" in answer.json()["azure_devops"]["error"]


def test_health_reads_each_project_of_an_enabled_route(env: Environment, tmp_path: Path) -> None:
    routes = yaml.safe_load((HOME / "release_map.yaml").read_text())["routes"]
    routes.append(routes[0] | {"enabled": False, "release": {"project": "closed", "definition": 1}})
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "routes": routes}))
    env.azure_devops.misbehave(Fault(path="/closed/", status=403, body={"message": "no"}))

    env.sweep()
    with served(env, RELEASE_MAP=str(path)) as api:
        assert api.get("health")["azure_devops"] == {"ok": True, "projects": ["fraud", "risk"]}
        env.azure_devops.misbehave(Fault(path="/risk/", status=403, body={"message": "no"}))
        assert api.send("health").json()["azure_devops"] == {"ok": False, "error": "no"}


def test_health_needs_the_key(api: Api) -> None:
    assert api.send("health", headers={"x-functions-key": "wrong"}).status_code == 401

"""The HTTP API: history and story as JSON and as pages, starting again, health, and what docs/openapi.yaml says."""

import base64
import hashlib
import json
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

from local.azure_devops_faults import Fault
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release import app as wiring
from model_release.domain.events import Workspace, parse, shorten
from model_release.domain.release_map import judge, starts
from model_release.web.views import visible
from tests.environment import WORKSPACE, Size, World, event, kept_world, multiply, register

MODEL = "sklearn_regression_model"
STORY = f"releases/{MODEL}/20"
KEY = "secret"
POST = {"method": "POST", "path": "/releases"}
WISH = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DESCRIPTION = yaml.safe_load((wiring.HOME / "docs/openapi.yaml").read_text())
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></bdi><img src=x onerror=alert(1)>",
    "\"'><a href=javascript:alert(1)>",
    "&lt;b&gt; {{ 7 * 7 }} {% raw %}",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\N{POP DIRECTIONAL FORMATTING}",
    "<b>" + "x" * 10_000,
]


class Api:
    """Asks the app, and holds each answer in JSON against its description."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/api/"
        self.headers = {"Accept": "application/json", "x-functions-key": KEY}

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        headers = self.headers | options.pop("headers", {})
        answer = requests.request(method, self.url + path, headers=headers, allow_redirects=False, **options)
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            _fits(answer.json(), path, method, answer.status_code)
        return answer

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return self.ask(path, params=parameters).json()

    def start(self, path: str = STORY, status: int = 200, **body: str) -> dict[str, Any]:
        answer = self.ask(path, "POST", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def page(self, path: str, **options: Any) -> "Page":
        answer = self.ask(path, headers={"Accept": BROWSER} | options.pop("headers", {}), **options)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        return Page(answer)


def _fits(value: Any, path: str, method: str, status: int) -> None:
    place = "/releases/{model}/{version}" if path.startswith("releases/") else f"/{path.partition('?')[0]}"
    answer = DESCRIPTION["paths"][place][method.lower()]["responses"][str(status)]
    _fits_media(value, _resolved(answer)["content"]["application/json"])


def _fits_media(value: Any, media: dict[str, Any]) -> None:
    schema = media["schema"] | {"components": DESCRIPTION["components"]}
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def _resolved(answer: dict[str, Any]) -> dict[str, Any]:
    name = answer.get("$ref", "").rpartition("/")[2]
    return DESCRIPTION["components"]["responses"][name] if name else answer


@dataclass
class Page(HTMLParser):
    """A page as a browser reads it."""

    answer: requests.Response
    text: str = ""
    texts: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _open: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "input"):
            self._open.append(len(self.tags))
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.tags[self._open.pop()][0] == tag

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
        """Where its links and forms lead in this app."""
        found = [a["href"] for a in self.all("a")] + [form["action"] for form in self.all("form") if "action" in form]
        return [address for address in found if not address.startswith(("http", "#"))]


@contextmanager
def served(world: World, **changes: str) -> Iterator[Api]:
    host = FunctionsHost(world.function_app(world.build(**changes)), key=KEY)
    with host, Server(host) as server:
        yield Api(server.url)


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    with served(world) as api:
        yield api


def claim(api: Api, version: object = 20) -> str:
    return api.get(f"releases/{MODEL}/{version}")["stories"][0]["claims"][0]["claim"]


def release_map(folder: Path, model: str, project: str, definition: str) -> str:
    route = {"model": model, "release": {"project": project, "definition": definition}}
    (folder / "map.yaml").write_text(json.dumps({"version": 1, "routes": [route]}))
    return str(folder / "map.yaml")


# The description


def test_the_description_is_valid_and_its_examples_fit() -> None:
    validate(DESCRIPTION)

    for operations in DESCRIPTION["paths"].values():
        for operation in (operations[method] for method in ("get", "post") if method in operations):
            answers = [_resolved(answer) for answer in operation["responses"].values()]
            for has_content in [*answers, operation.get("requestBody", {})]:
                for media in has_content.get("content", {}).values():
                    _fits_media(media["example"], media)


def test_the_description_names_what_the_host_serves(world: World) -> None:
    functions = [json.loads(function.get_function_json()) for function in world.function_app().get_functions()]
    routes = [f["bindings"][0] for f in functions if f["bindings"][0]["type"] == "httpTrigger"]

    described = {
        path: {name for name in told if name in ("get", "post")} for path, told in DESCRIPTION["paths"].items()
    }
    assert {f"/{route['route']}": {m.lower() for m in route["methods"]} for route in routes} == described


# The history


def test_the_same_address_answers_json_where_it_is_asked_for_and_a_page_otherwise(world: World, api: Api) -> None:
    register(world, 20)

    assert api.ask("releases").headers["Content-Type"] == "application/json"
    for accept in (BROWSER, "*/*", f"{BROWSER},application/json"):
        page = api.page("releases", headers={"Accept": accept})
        assert page.answer.status_code == 200
        assert f"{MODEL} 20" in page.text


def test_pages_follow_one_another(world: World, api: Api) -> None:
    register(world, *range(1, 6))

    first = api.get("releases", count="2")
    second = api.get("releases", count="2", place=first["older"])
    third = api.get("releases", count="2", place=second["older"])

    seen = [[line["version"] for line in page["decisions"]] for page in (first, second, third)]
    assert seen == [["5", "4"], ["3", "2"], ["1"]]
    assert third["older"] is None


def test_a_first_page_costs_one_request_however_long_the_history_is(tmp_path: Path, size: Size) -> None:
    with kept_world(tmp_path) as world:
        assert _lines_and_cost_of_a_page(world) == (0, 1)
        register(world, 1)
        assert _lines_and_cost_of_a_page(world) == (1, 1)
    for more in (49, size(2_000, 100_000)):
        multiply(tmp_path, "recent", more)
        with kept_world(tmp_path) as world:
            assert _lines_and_cost_of_a_page(world) == (50, 1)


def _lines_and_cost_of_a_page(world: World) -> tuple[int, int]:
    with served(world) as api:
        api.page("releases")
        before = len(world.storage.passed)
        page = api.page("releases")
    return len(page.all("time")), len(world.storage.passed) - before


def test_the_query_narrows_the_history(world: World, api: Api) -> None:
    register(world, 21, 20, 22)
    register(world, 1, model="churn")

    for asked, found in (
        ({}, ["22", "20", "21"]),
        ({"model": "sklearn*"}, ["22", "20", "21"]),
        ({"model": "sklearn"}, []),
        ({"state": "superseded"}, ["20"]),
        ({"ignored": "yes"}, ["1", "22", "20", "21"]),
        ({"ignored": "no", "state": ""}, ["22", "20", "21"]),
        ({"state": "ignored", "model": "churn"}, ["1"]),
        ({"since": "0001-01-01", "until": "9999-12-30"}, ["22", "20", "21"]),
        ({"since": "2999-01-01"}, []),
        ({"until": "2000-01-01T00:00:00+02:00"}, []),
    ):
        assert [line["version"] for line in api.get("releases", **asked)["decisions"]] == found, asked


def test_a_day_is_meant_whole_and_a_time_to_the_moment(world: World, api: Api) -> None:
    world.clock.now = world.clock.now.replace(hour=12, minute=0, second=0, microsecond=0)
    register(world, 20)
    day = world.clock().date().isoformat()

    for asked, found in (
        ({"since": day, "until": day}, 1),
        ({"since": f"{day}T12:00"}, 1),
        ({"since": f"{day} 12:00:01"}, 0),
        ({"until": f"{day} 11:59"}, 0),
        ({"until": f"{day}T12:00:00Z"}, 1),
    ):
        assert len(api.get("releases", **asked)["decisions"]) == found, asked


def test_what_is_wrong_in_the_query_is_told_at_once(api: Api) -> None:
    wrong = {
        "model": "<b>",
        "state": "done",
        "since": "yesterday",
        "until": "9999-99-99",
        "ignored": "maybe",
        "place": "1",
        "count": "201",
    }

    answer = api.ask("releases", params=wrong)
    page = api.page("releases", params=wrong)

    assert answer.status_code == page.answer.status_code == 400
    for name, value in wrong.items():
        assert f"{name}: '{value}'" in answer.json()["error"]
    assert answer.json()["error"] in page.texts


def test_a_count_out_of_bounds_is_told(api: Api) -> None:
    for count in ("0", "-1", "many", "9" * 10_000):
        answer = api.ask("releases", params={"count": count})

        assert answer.status_code == 400
        assert "is not a whole number from 1 to 200" in answer.json()["error"]
        assert len(answer.json()["error"]) < 300


# The story


def test_a_story_has_claims_answers_routes_and_the_event(world: World, api: Api) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(world, 20)
    world.later(minutes=2)

    (story,) = api.get(STORY)["stories"]

    assert story["workspace"] == Workspace.parse(WORKSPACE).id
    (told,) = story["claims"]
    assert [answer["state"] for answer in told["answers"]] == ["waiting", "started"]
    assert told["release"]["name"] == "Release-1"
    assert [(route["route"], route["takes"]) for route in story["routes"]] == [
        (MODEL, True),
        ("fraud models to production", False),
    ]
    assert story["event"] == json.loads(event(version="20"))


def test_workspaces_have_stories_of_their_own(world: World) -> None:
    dev = WORKSPACE.replace("workspaces/prod", "workspaces/dev")
    with served(world, AML_WORKSPACES=f"{WORKSPACE},{dev}") as api:
        app = world.start(AML_WORKSPACES=f"{WORKSPACE},{dev}")
        for body in (event(), event().replace(WORKSPACE, dev)):
            app.registered(body)

        assert [story["workspace"][-4:] for story in api.get(STORY)["stories"]] == ["/dev", "prod"]
        for name in ("dev", "DEV", dev, dev.upper()):
            (story,) = api.get(STORY, workspace=name)["stories"]
            assert story["workspace"] == dev.lower()
        assert "name one as `workspace`" in api.start(status=400)["error"]
        assert api.start(f"{STORY}?workspace=dev", claim=story["claims"][0]["claim"], wish=WISH)["decisions"]

    assert world.versions == ["20"] * 3


def test_what_is_not_known_is_told_in_both_forms(world: World, api: Api) -> None:
    register(world, 20)

    for path, status in (
        (f"releases/{MODEL}/7", 404),
        ("releases/churn/20", 404),
        (f"{STORY}?workspace=dev", 404),
        (f"{STORY}?workspace=/subscriptions/x", 400),
        (f"releases/%22%3E%3Cscript%3E/{'9' * 5_000}", 404),
        ("releases/..%5C..%5C/'%20or%20'1'='1", 404),
    ):
        answer, page = api.ask(path), api.page(path)

        assert answer.status_code == page.answer.status_code == status
        assert answer.json()["error"] in page.texts
        assert api.ask(path, "POST", json={}).status_code == status


# Starting again


def test_one_wish_starts_one_release_however_often_it_is_sent(world: World, api: Api) -> None:
    register(world, 20)
    key = claim(api)

    decisions = [api.start(claim=key, wish=wish)["decisions"][0] for wish in (WISH, WISH, "another-wish")]

    assert [decision["release"]["name"] for decision in decisions] == ["Release-2", "Release-2", "Release-3"]
    assert world.versions == ["20"] * 3
    on_purpose = [claim["on_purpose"] for claim in api.get(STORY)["stories"][0]["claims"]]
    assert on_purpose == [False, True, True]


def test_what_waits_is_tried_now_and_answers_afterwards_how_it_ended(world: World, api: Api) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=403, times=1))
    register(world, 20)
    key = claim(api)

    for _ in range(2):
        (decision,) = api.start(claim=key)["decisions"]
        assert (decision["state"], decision["release"]["name"]) == ("started", "Release-1")

    assert world.versions == ["20"]


def test_a_wish_may_have_any_name(world: World, api: Api) -> None:
    register(world, 20)

    api.start(claim=claim(api), wish="was-ignored")

    (story,) = api.get(f"releases/{MODEL}/20")["stories"]
    assert [one["on_purpose"] for one in story["claims"]] == [False, True]
    assert story["ignored"] is None


def test_a_wish_for_what_is_not_done_is_refused(world: World, api: Api) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(world, 20)

    assert api.start(status=409, claim=claim(api), wish=WISH)["error"].startswith("this claim is waiting")

    assert world.versions == []


def test_a_claim_in_other_hands_is_left_alone(world: World, api: Api) -> None:
    registered = parse(event())
    (start,) = starts(judge(world.app.release_map, registered), registered)
    world.app.ledger.claim(start, registered)

    assert "in other hands" in api.start(status=409, claim=claim(api))["error"]
    assert "in other hands" in api.start(status=409)["error"]

    assert world.versions == []


def test_what_no_route_leads_to_any_more_is_not_started(world: World, tmp_path: Path) -> None:
    register(world, 20)

    with served(world, RELEASE_MAP=release_map(tmp_path, "other", "fraud", "Other")) as api:
        told = api.start(status=409, claim=claim(api), wish=WISH)

    assert told["error"] == f"no route names {MODEL}"
    assert world.versions == ["20"]


def test_an_ignored_version_starts_when_the_map_takes_it_by_now(world: World, api: Api, tmp_path: Path) -> None:
    register(world, 20, model="churn")
    (ignored,) = api.start("releases/churn/20")["decisions"]
    assert (ignored["state"], ignored["reason"]) == ("ignored", "no route names churn")
    world.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})

    with served(world, RELEASE_MAP=release_map(tmp_path, "churn", "growth", "Churn")) as api_now:
        for _ in range(2):
            (decision,) = api_now.start("releases/churn/20")["decisions"]
            assert decision["state"] == "started"

    assert world.versions == ["20"]


def test_a_wrong_request_starts_nothing(world: World, api: Api) -> None:
    register(world, 20)
    key = claim(api)

    for body, status, told in (
        ({"claim": "0" * 32}, 404, "has no claim"),
        ({"claim": "<b>", "wish": WISH}, 404, "has no claim <b>"),
        ({"wish": WISH}, 400, "goes with the `claim`"),
        ({"claim": key, "wish": "short"}, 400, "8 to 64"),
        ({"claim": key, "wish": "a wish with spaces"}, 400, "8 to 64"),
        ([], 400, "neither a form nor a JSON object"),
        ("no", 400, "neither a form nor a JSON object"),
    ):
        answer = api.ask(STORY, "POST", json=body)
        assert answer.status_code == status
        assert told in answer.json()["error"]
    for content in (b"\xff\xfe", b"[" * 100_000):
        answer = api.ask(STORY, "POST", data=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400

    assert world.versions == ["20"]


def test_only_who_has_the_key_and_is_no_foreign_page_starts_again(world: World, api: Api) -> None:
    register(world, 20)
    key, ours = claim(api), api.url.removesuffix("/api/")

    for number, (headers, status) in enumerate(
        (
            ({"x-functions-key": ""}, 401),
            ({"x-functions-key": "wrong"}, 401),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://["}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Origin": ours}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": ours}, 200),
            ({"Origin": ours}, 200),
            ({}, 200),
        )
    ):
        before = len(world.versions)
        body = {"claim": key, "wish": f"wish-number-{number}"}
        assert api.ask(STORY, "POST", json=body, headers=headers).status_code == status, headers
        assert len(world.versions) == before + (status == 200)


def test_the_form_starts_once_and_leads_back_to_the_story(world: World, api: Api) -> None:
    register(world, 20)
    page = api.page(f"{STORY}?code={KEY}", headers={"x-functions-key": ""})
    (form,) = page.all("form")
    fields = {field["name"]: field["value"] for field in page.all("input")}
    assert set(fields) == {"claim", "wish"}

    for _ in range(2):
        answer = requests.post(
            urljoin(page.answer.url, form["action"]), data=fields, headers={"Accept": BROWSER}, allow_redirects=False
        )
        assert answer.status_code == 303
        place = answer.headers["Location"]
        assert not urlsplit(place).netloc
        after = Page(requests.get(urljoin(answer.url, place), headers={"Accept": BROWSER}))
        assert after.answer.status_code == 200
        assert "Release-2" in after.text

    assert world.versions == ["20"] * 2


# The pages


def test_the_key_in_the_address_goes_on_in_every_link_and_only_then(world: World, api: Api) -> None:
    register(world, 20, 21, 22)
    register(world, 1, model="churn")
    second = f"releases?count=1&place={api.get('releases', count='1')['older'].replace(' ', '+')}"

    for path in ("releases?ignored=yes", second, "releases?model=none", "releases?count=x", STORY, "releases/churn/1"):
        with_key = api.page(f"{path}{'&' if '?' in path else '?'}code={KEY}", headers={"x-functions-key": ""})
        without = api.page(path)
        assert len(with_key.addresses) == len(without.addresses) > 0
        assert not any("code=" in address for address in without.addresses)
        assert all(f"code={KEY}" in address for address in with_key.addresses)
        hidden = {"type": "hidden", "name": "code", "value": KEY}
        for form in with_key.all("form"):
            assert form["method"] == "post" or hidden in with_key.all("input")


def test_every_link_leads_somewhere(world: World, api: Api) -> None:
    register(world, 20)

    for path in ("releases", "releases/", STORY, f"{STORY}/", "releases/churn/7", "releases?count=x"):
        page = api.page(path)
        links = [a["href"] for a in page.all("a") if not a["href"].startswith(("http", "#"))]
        assert links
        for address in links:
            assert requests.get(urljoin(page.answer.url, address), headers=api.headers).status_code == 200


def test_a_page_allows_no_script_and_is_asked_for_anew(world: World, api: Api) -> None:
    register(world, 20)

    for path in ("releases", STORY, "releases/churn/7", "releases?count=x"):
        page = api.page(path)
        headers = page.answer.headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        style = page.answer.text.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy["default-src"] == "'none'"
        assert policy["style-src"] == f"'sha256-{digest}'"
        assert policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "script-src" not in policy
        assert headers["Referrer-Policy"] == "same-origin"
        # Going back must show the form with the wish that was sent; a program's answer is kept nowhere.
        for answer, kept in ((page.answer, "private, no-cache"), (api.ask(path), "no-store")):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == kept


def test_foreign_text_is_shown_as_text(world: World, tmp_path: Path) -> None:
    routes = [
        {"name": text, "model": f"model{number}", "release": {"project": "risk", "definition": 42}}
        for number, text in enumerate(HOSTILE)
    ]
    (tmp_path / "map.yaml").write_text(json.dumps({"version": 1, "routes": routes}))
    with served(world, RELEASE_MAP=str(tmp_path / "map.yaml")) as api:
        app = world.start(RELEASE_MAP=str(tmp_path / "map.yaml"))
        bodies = [event(f"model{number}", ModelTags={text: text}) for number, text in enumerate(HOSTILE)]
        for text, body in zip(HOSTILE, bodies, strict=True):
            world.azure_devops.behave()
            world.azure_devops.misbehave(Fault(**POST, status=403, body={"message": text}))
            app.registered(body)
            app.registered(json.dumps(json.loads(body) | {"subject": text, "eventType": "none"}))

        history = api.page("releases?ignored=yes")
        stories = [api.page(f"releases/model{number}/20") for number in range(len(HOSTILE))]

    for page in (history, *stories):
        assert page.answer.status_code == 200
        assert not page.all("script") + page.all("img") + page.all("iframe")
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert not [a for a in page.all("a") if "javascript" in a["href"]]
    for text, body, story in zip(HOSTILE, bodies, stories, strict=True):
        # Once as the reason, and once as the subject of what is no event of ours.
        assert history.texts.count(shorten(text)) == 2
        assert shorten(text) in story.texts
        assert visible(text) in story.texts  # the route's name
        assert [json.loads(shown) for shown in story.texts_of("pre")] == [json.loads(body)]


def test_a_hostile_address_is_shown_as_text(world: World) -> None:
    register(world, 20)
    host = FunctionsHost(world.function_app())
    with host, Server(host) as server:
        for path in ("releases", STORY):
            page = Api(server.url).page(path, params={"code": HOSTILE[0], "done": HOSTILE[1]})
            assert page.answer.status_code == 200
            assert not page.all("script") + page.all("img")


# Storage is down


def test_storage_that_is_down_is_told_in_both_forms(world: World, api: Api) -> None:
    world.storage.down = True

    answer, page, post = api.ask("releases"), api.page(STORY), api.ask(STORY, "POST", json={})

    assert answer.status_code == page.answer.status_code == post.status_code == 503
    assert answer.json()["error"].startswith("storage does not answer")
    assert any(text.startswith("storage does not answer") for text in page.texts)


# Health


def test_a_healthy_app_says_so_and_what_it_has(world: World, api: Api) -> None:
    assert api.get("health") == {
        "healthy": True,
        "storage": {"ok": True, "open_claims": 0, "oldest_open_claim_seconds": None},
        "release_map": {"ok": True, "routes": 2},
        "azure_devops": {"ok": True, "projects": ["fraud", "risk"]},
    }


def test_the_age_of_the_oldest_open_claim_is_told(world: World, api: Api) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429))
    register(world, 20)
    world.clock.advance(hours=2)
    register(world, 21)
    register(world, 1, model="churn")

    assert api.get("health")["storage"] == {"ok": True, "open_claims": 2, "oldest_open_claim_seconds": 7203}


def test_an_app_whose_storage_is_down_is_not_healthy(world: World, api: Api) -> None:
    world.storage.down = True

    answer = api.ask("health")

    assert answer.status_code == 503
    assert [part["ok"] for part in answer.json().values() if isinstance(part, dict)] == [False, True, True]


def test_an_app_that_azure_devops_does_not_know_is_not_healthy(world: World, api: Api) -> None:
    world.azure_devops.misbehave(Fault(sign_in=True))

    answer = api.ask("health")

    assert answer.status_code == 503
    assert answer.json()["healthy"] is False
    assert "sign-in" in answer.json()["azure_devops"]["error"]


def test_health_asks_each_project_that_an_enabled_route_leads_to(world: World, tmp_path: Path) -> None:
    routes = yaml.safe_load((wiring.HOME / "release_map.yaml").read_text())["routes"]
    routes.append(routes[0] | {"enabled": False, "release": {"project": "closed", "definition": 1}})
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "routes": routes}))
    world.azure_devops.misbehave(Fault(path="/closed/", status=403, body={"message": "no"}))

    with served(world, RELEASE_MAP=str(path)) as api:
        assert api.get("health")["azure_devops"] == {"ok": True, "projects": ["fraud", "risk"]}
        world.azure_devops.misbehave(Fault(path="/risk/", status=403, body={"message": "no"}))
        assert api.ask("health").json()["azure_devops"] == {"ok": False, "error": "no"}


def test_health_wants_the_key(api: Api) -> None:
    assert api.ask("health", headers={"x-functions-key": "wrong"}).status_code == 401

"""The pages in a real browser."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from werkzeug.wrappers import Response

from local.azure_devops_faults import Fault
from local.functions_host import FunctionsHost
from local.functions_keys import Keys
from local.serving import Server
from model_release.app import build_or_report
from model_release.domain.events import Workspace
from model_release.reason import Reason, ReasonKind
from tests.browser import DISPLAYS, Display, Visitor
from tests.environment import FULL, IN_AZURITE, IN_MEMORY, REQUESTS, WORKSPACE, Environment, event, register

pytestmark = IN_MEMORY

MODEL = "sklearn_regression_model"
POST = {"method": "POST", "path": "/releases"}
KEY = "a key & more"
CODE = "code=a+key+%26+more"
HISTORY = f"/api/releases?{CODE}"
NOW = f"/api/targets?{CODE}"
DESKTOP, PHONE_DARK = DISPLAYS[0], DISPLAYS[-1]
MARKUP = """</bdi></pre></title><script>alert(1)</script><img src=x onerror=alert(2)>"'><b onclick=alert(3)>"""
BACKWARDS = "\u202edrawkcab \u2067 \u05d0\u05d1\u05d2 "
HOSTILE = MARKUP + BACKWARDS + "W" * 10_000


# Each width and each colour scheme; with --full each width in each.
USUAL = [DESKTOP, PHONE_DARK]


def on_each_display(*usual: Display) -> pytest.MarkDecorator:
    """Run a test on these displays; with --full on each."""
    rows = [pytest.param(one, marks=() if one in usual else FULL) for one in DISPLAYS]
    return pytest.mark.parametrize("display", rows, ids=str)


def both_on_each_display(usual_kind: str, usual: Display) -> pytest.MarkDecorator:
    """Run a test with one kind of target on one display; with --full with each on each."""
    rows = [
        pytest.param(kind, one, marks=() if (kind, one) == (usual_kind, usual) else FULL)
        for kind in REQUESTS
        for one in DISPLAYS
    ]
    return pytest.mark.parametrize(("env", "display"), rows, indirect=["env"], ids=str)


@contextmanager
def served(env: Environment) -> Iterator[str]:
    host = FunctionsHost(env.function_app(), key=Keys(function=KEY))
    with host, Server(host) as server:
        yield server.url


@pytest.fixture
def host(env: Environment) -> Iterator[str]:
    with served(env) as url:
        yield url


@pytest.fixture(scope="module")
def full() -> Iterator[tuple[Environment, str]]:
    """A history of three days and two pages: started, refused and, on the last day, many ignored."""
    with Environment(None) as env, served(env) as url:
        env.clock.now = env.clock.now.replace(hour=12)
        for version in (18, 19):
            env.registered(event(version=version))
            env.clock.advance(days=1)
        # The remembered definition is read again before a refusal is believed.
        env.azure_devops.misbehave(Fault(**POST, status=403, body={"message": "Access denied."}, times=1))
        env.registered(event(version=20))
        # Entries of the same moment have no order.
        for version in range(1, 54):
            env.clock.advance(seconds=1)
            # An entry without an event has no link, so that Tab reaches the others soon.
            no_route = Reason(ReasonKind.MODEL_NOT_NAMED, "no route names the model churn")
            env.app.start_release.recorder.ignore(no_route, f"models/churn:{version}", f"event of {version}")
        env.clock.advance(seconds=1)
        env.registered(event(model="churn", version=54))
        env.app.sweep.overview.update()
        yield env, url


def detail(version: int | str = 20, model: str = MODEL) -> str:
    return f"/api/releases/{model}/{version}?{CODE}"


def rows(page: Page) -> Locator:
    return page.locator("tbody tr")


def summary(page: Page, name: str) -> Locator:
    return page.locator("summary").filter(has_text=name)


def release_map(folder: Path, *routes: dict[str, object]) -> str:
    path = folder / "map.yaml"
    path.write_text(json.dumps({"version": 1, "routes": routes}))
    return str(path)


# With the keyboard alone


@on_each_display(DESKTOP)
def test_the_history_is_filtered_paged_and_opened_with_the_keyboard(
    browser: Browser, full: tuple[Environment, str], display: Display
) -> None:
    env, url = full
    with Visitor(browser, url, display) as visitor:
        page = visitor.page
        visitor.open(HISTORY)
        expect(rows(page)).to_have_count(3)
        visitor.tab_to(page.get_by_role("link", name="Skip to the content"))
        visitor.press("Enter")

        visitor.tab_to(page.get_by_label("Model"))
        page.keyboard.type("sklearn*")
        visitor.tab_to(page.get_by_label("State"))
        page.keyboard.type("refu")
        visitor.tab_to(page.get_by_role("button", name="Filter"))
        visitor.press("Enter")
        expect(rows(page)).to_have_count(1)
        expect(rows(page)).to_contain_text("refused Azure DevOps refused the request. Access denied. next attempt")
        expect(page.get_by_label("Model")).to_have_value("sklearn*")
        expect(page.get_by_label("State")).to_have_value("refused")
        visitor.tab_to(page.get_by_role("link", name="Show all"))
        visitor.press("Enter")
        expect(rows(page)).to_have_count(3)

        for label in ("From", "To"):
            visitor.tab_to(page.get_by_label(label, exact=True))
            page.keyboard.type(f"{env.clock.now:%m%d%Y}")
        visitor.tab_to(page.get_by_label("Show ignored events"))
        visitor.press("Space", "Enter")
        expect(rows(page)).to_have_count(50)
        visitor.tab_to(page.get_by_role("link", name="Older"), "Shift+Tab")
        visitor.press("Enter")
        expect(rows(page)).to_have_count(5)
        expect(rows(page).last).to_contain_text(f"{MODEL}:20")
        visitor.tab_to(page.get_by_role("link", name="Newest"), "Shift+Tab")
        visitor.press("Enter")
        expect(rows(page).first).to_contain_text("churn:54")

        visitor.tab_to(page.get_by_role("link", name="churn:54"), "Shift+Tab")
        visitor.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("churn:54")
        visitor.tab_to(page.get_by_role("link", name="History"))
        visitor.press("Enter")
        expect(rows(page)).to_have_count(3)


@both_on_each_display("pipeline", PHONE_DARK)
def test_a_restart_asks_first_and_then_shows_the_second_release(
    browser: Browser, env: Environment, host: str, display: Display
) -> None:
    register(env, 20)
    with Visitor(browser, host, display) as visitor:
        page = visitor.page
        visitor.open(detail())
        button = page.get_by_role("button", name="Restart the release")
        expect(button).to_be_hidden()
        visitor.tab_to(summary(page, "Restart"))
        visitor.press("Enter")
        expect(page.locator("form")).to_contain_text(f"another release of {MODEL}:20")
        expect(page.locator("form")).to_contain_text(f"although {env.started[0]['name']} exists")
        assert env.versions == ["20"]

        visitor.tab_to(button)
        visitor.press("Enter")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(page.get_by_role("article")).to_have_count(2)
        newest = page.get_by_role("article").first
        expect(newest).to_contain_text("restarted manually")
        expect(newest.get_by_role("link", name=env.started[1]["name"])).to_be_visible()
        assert env.versions == ["20", "20"]
        visitor.tab_to(page.get_by_role("link", name="History"))
        visitor.press("Enter")
        expect(rows(page).first).to_contain_text("restarted manually")
        expect(rows(page).last).to_contain_text(env.started[0]["name"])


@both_on_each_display("release", DESKTOP)
def test_a_refused_release_is_tried_now(browser: Browser, env: Environment, host: str, display: Display) -> None:
    env.azure_devops.misbehave(Fault(**env.requests.start, status=403, body={"message": "Access denied."}, times=1))
    register(env, 20)
    with Visitor(browser, host, display) as visitor:
        page = visitor.page
        visitor.open(detail())
        expect(page.get_by_role("article")).to_contain_text("Needs a person. Azure DevOps refused the request.")
        expect(page.get_by_text("Access denied.").first).to_be_hidden()
        visitor.tab_to(summary(page, "Reason"))
        visitor.press("Enter")
        expect(page.get_by_text("Access denied.").first).to_be_visible()
        visitor.tab_to(summary(page, "Try now"))
        visitor.press("Space")
        visitor.tab_to(page.get_by_role("button", name="Try now"))
        visitor.press("Space")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(rows(page).nth(0)).to_contain_text("refused Access denied.")
        expect(rows(page).nth(1)).to_contain_text("started")
        assert env.versions == ["20"]


@on_each_display(PHONE_DARK)
def test_an_ignored_version_is_matched_again(
    browser: Browser, env: Environment, tmp_path: Path, display: Display
) -> None:
    register(env, 20)
    other = {"model": "other", "release": {"project": "fraud", "definition": 1}}
    env.restart(RELEASE_MAP=release_map(tmp_path, other))
    register(env, 21)
    env.restart()
    with served(env) as url, Visitor(browser, url, display) as visitor:
        page = visitor.page
        visitor.open(detail(21))
        expect(page.get_by_role("article")).to_contain_text(f"no route names the model {MODEL}")
        expect(page.get_by_role("list")).to_contain_text(f"{MODEL} matches")
        visitor.tab_to(summary(page, "Match again"))
        visitor.press("Enter")
        expect(page.locator("form code")).to_have_text(f"python -m model_release start {MODEL}:21")
        visitor.tab_to(page.get_by_role("button", name="Match again"))
        visitor.press("Enter")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(page.get_by_role("link", name=env.started[1]["name"])).to_be_visible()
        assert env.versions == ["20", "21"]


@both_on_each_display("release", DESKTOP)
def test_the_high_water_mark_is_set_back_with_the_keyboard(
    browser: Browser, env: Environment, host: str, display: Display
) -> None:
    register(env, 99999, 25)
    with Visitor(browser, host, display) as visitor:
        page = visitor.page
        visitor.open(detail(25))
        visitor.tab_to(summary(page, "Set the high-water mark back"))
        visitor.press("Enter")
        button = page.get_by_role("button", name="Set the mark back")
        visitor.tab_to(button)
        visitor.press("Enter")
        # The browser asks for both texts first.
        form = page.locator("form").filter(has=button)
        expect(form.get_by_label("Your name")).to_be_focused()
        page.keyboard.type("Ada Lovelace")
        visitor.tab_to(form.get_by_label("Comment"))
        page.keyboard.type("99999 was a mistake")
        visitor.tab_to(button)
        visitor.press("Enter")

        expect(page.get_by_role("status")).to_contain_text("high-water mark set back from version 99999")
        env.clock.advance(seconds=1)
        register(env, 26)
        assert env.versions == ["99999", "26"]
        visitor.tab_to(page.get_by_role("link", name="History"))
        visitor.press("Enter")
        expect(rows(page).nth(1)).to_contain_text("from version 99999 by Ada Lovelace: 99999 was a mistake")


@on_each_display(*USUAL)
def test_what_is_refused_is_found_from_the_first_page_with_the_keyboard(
    browser: Browser, full: tuple[Environment, str], display: Display
) -> None:
    _, url = full
    with Visitor(browser, url, display) as visitor:
        page = visitor.page
        visitor.open(NOW)
        expect(rows(page)).to_have_count(1)
        for text in (f"{MODEL} fraud/1, prod", "19 Release-2", f"by route {MODEL}", "refused 20 Access denied."):
            expect(rows(page)).to_contain_text(text)

        visitor.tab_to(page.get_by_role("link", name="1 refused"))
        visitor.press("Enter")
        expect(page.get_by_label("State")).to_have_value("refused")
        expect(rows(page)).to_have_count(1)
        visitor.tab_to(page.get_by_role("link", name="Now"))
        visitor.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Now")
        visitor.tab_to(page.get_by_role("link", name=f"{MODEL}:20"))
        visitor.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{MODEL}:20")


def test_a_page_reloads_only_while_something_is_open(browser: Browser, full: tuple[Environment, str]) -> None:
    _, url = full
    with Visitor(browser, url) as visitor:
        assert visitor.open(NOW).headers["refresh"] == "30"
        visitor.page.get_by_role("link", name="Pause").click()
        expect(visitor.page.get_by_role("link", name="Continue")).to_be_visible()
        assert "refresh" not in visitor.open(NOW + "&refresh=no").headers
        assert "refresh" not in visitor.open(detail(19)).headers


# Accessibility


@pytest.fixture
def displays(request: pytest.FixtureRequest) -> Sequence[Display]:
    return DISPLAYS if request.config.getoption("--full") else USUAL


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (NOW, 200),
        (NOW + "&model=nothing", 200),
        pytest.param(NOW + "&state=nothing", 400, marks=FULL),
        (HISTORY + "&ignored=yes&limit=5", 200),
        pytest.param(HISTORY + "&model=nothing", 200, marks=FULL),
        (detail(), 200),
        (detail(54, "churn"), 200),
        (HISTORY + "&state=nothing&limit=0", 400),
    ],
    ids=[
        "now",
        "no target",
        "a wrong filter",
        "the history",
        "no entry",
        "a model version",
        "an ignored version",
        "an error",
    ],
)
def test_a_page_has_no_accessibility_violation(
    browser: Browser, full: tuple[Environment, str], path: str, status: int, displays: Sequence[Display]
) -> None:
    _, url = full
    with Visitor(browser, url) as visitor:
        assert visitor.open(path).status == status
        if status != 200:
            visitor.was_answered(status)
        check(visitor, displays)


def test_a_superseded_version_has_no_accessibility_violation(
    browser: Browser, env: Environment, host: str, displays: Sequence[Display]
) -> None:
    register(env, 99999, 25)
    with Visitor(browser, host) as visitor:
        visitor.open(detail(25))
        form = visitor.page.locator("form").filter(has_text="Set the mark back")
        expect(form.get_by_label("Comment")).to_have_count(1)
        check(visitor, displays)


def test_an_empty_history_shows_the_first_steps(browser: Browser, host: str, displays: Sequence[Display]) -> None:
    with Visitor(browser, host) as visitor:
        visitor.open(HISTORY)
        expect(visitor.page.get_by_role("listitem").first).to_contain_text("python -m model_release check")
        check(visitor, displays)
        visitor.page.get_by_role("link", name="Show ignored events").click()
        expect(visitor.page.get_by_text("No entry matches the filter.")).to_be_visible()


@IN_AZURITE
def test_a_page_reports_a_storage_failure(
    browser: Browser, env: Environment, host: str, displays: Sequence[Display]
) -> None:
    register(env, 20)
    env.storage.down = True
    with Visitor(browser, host) as visitor:
        assert visitor.open(detail()).status == 503
        visitor.was_answered(503)
        problem = "storage cannot be reached: connection closed before the answer. Event Grid keeps the events"
        expect(visitor.page.get_by_text(problem)).to_be_visible()
        check(visitor, displays)


def test_the_page_of_an_app_that_cannot_start_shows_each_fault(
    browser: Browser, env: Environment, displays: Sequence[Display]
) -> None:
    services = build_or_report(env.settings(AML_WORKSPACES="", AZURE_DEVOPS_URL="http://example.com"))
    host = FunctionsHost(env.function_app(services), key=KEY)
    with host, Server(host) as server, Visitor(browser, server.url) as visitor:
        assert visitor.open(HISTORY).status == 503
        visitor.was_answered(503)
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Model Release cannot start")
        for fault in ("AML_WORKSPACES: missing", "'http://example.com' does not begin with https://"):
            expect(visitor.page.get_by_text(fault)).to_be_visible()
        check(visitor, displays)


def check(visitor: Visitor, displays: Sequence[Display]) -> None:
    visitor.unfold()
    for display in displays:
        visitor.look_with(display)
        assert (display, visitor.barriers()) == (display, [])
    assert [width for width in (320, 390, 700, 1000) if visitor.scrolls_sideways(width)] == []


# Foreign text

# In all text of the pages themselves, the characters of a line go from left to right.
_RUNS_BACKWARDS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, range = document.createRange();
    if (node.parentElement.closest("bdi, pre")) continue;
    let last = null;
    for (let place = 0; place < node.length; place++) {
      range.setStart(node, place); range.setEnd(node, place + 1);
      const box = range.getClientRects()[0];
      if (!box || !box.width) continue;
      if (last && Math.abs(box.top - last.top) < 2 && box.left < last.left) { found.push(node.data); break; }
      last = box;
    }
  }
  return found;
}"""


@on_each_display(PHONE_DARK)
def test_foreign_text_is_shown_as_text(browser: Browser, env: Environment, tmp_path: Path, display: Display) -> None:
    release = {"project": "fraud", "definition": "Deploy sklearn model", "description": "{model}"}
    routes = [
        {"name": f"route {HOSTILE}", "model": MODEL, "release": release},
        {"name": f"other {HOSTILE}", "model": MODEL, "tags": {MARKUP + BACKWARDS: "a"}, "release": release},
    ]
    env.restart(RELEASE_MAP=release_map(tmp_path, *routes))
    env.azure_devops.misbehave(Fault(**POST, status=403, body={"message": f"reason {HOSTILE}"}, times=1))
    env.registered(event(ModelTags={f"tag {MARKUP}{BACKWARDS}": HOSTILE}, ModelProperties={"p": MARKUP}))
    env.registered(event(version=21))
    env.registered(event(model=f"subject {MARKUP}{BACKWARDS}"))

    with served(env) as url, Visitor(browser, url, display) as visitor:
        visitor.open(f"{HISTORY}&ignored=yes")
        check_text(visitor, f"reason {MARKUP}", f"subject {MARKUP}")
        visitor.open(detail())
        check_text(visitor, f"route {MARKUP}", f"reason {MARKUP}", f"tag {MARKUP}", json.dumps(BACKWARDS[0])[1:-1])
        visitor.open(f"{HISTORY}&state={quote(MARKUP)}")
        visitor.was_answered(400)
        check_text(visitor, MARKUP[:20])
        name = MARKUP.replace("/", "")
        visitor.open(f"/api/releases/{quote(name)}/1?{CODE}")
        visitor.was_answered(404)
        check_text(visitor, f"{name}:1 is not recorded")


def check_text(visitor: Visitor, *expected: str) -> None:
    page = visitor.page
    visitor.unfold()
    shown = page.locator("main").inner_text()
    assert [text for text in expected if text not in shown] == []
    assert page.locator("main :is(script, img, svg, iframe, [onerror], [onclick])").count() == 0
    assert page.evaluate(_RUNS_BACKWARDS) == []
    assert [one for one in DISPLAYS if visitor.scrolls_sideways(one.width)] == []


# One restart, one release


@IN_AZURITE
def test_pressing_a_button_twice_restarts_once(browser: Browser, env: Environment) -> None:
    register(env, 20)
    # When the host is no longer served, it has ended what it began.
    with served(env) as url, Visitor(browser, url) as visitor:
        page = visitor.page
        visitor.open(detail())
        summary(page, "Restart").click()
        page.get_by_role("button", name="Restart the release").dblclick()
        expect(page.get_by_role("status")).to_contain_text("the state is now")

    assert env.versions == ["20", "20"]


def test_a_claim_that_another_worker_has_leased_is_shown_as_starting(
    browser: Browser, env: Environment, host: str
) -> None:
    env.claim(event())
    with Visitor(browser, host) as visitor:
        page = visitor.page
        visitor.open(detail())
        summary(page, "Try now").click()
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_role("status")).to_contain_text("starting")

    assert env.versions == []


def test_going_back_after_a_restart_shows_the_restart_and_not_the_page_before_it(
    browser: Browser, env: Environment, host: str
) -> None:
    register(env, 20)
    with Visitor(browser, host) as visitor:
        page = visitor.page
        visitor.open(detail())
        summary(page, "Restart").click()
        page.get_by_role("button", name="Restart the release").click()
        expect(page.get_by_role("status")).to_contain_text("started")
        page.go_back()

        # The page is not stored, because its address has a key. So the form before the restart does not come back.
        expect(page.get_by_role("article")).to_have_count(2)
        assert env.versions == ["20", "20"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_site_restarts_nothing(browser: Browser, env: Environment, host: str, name: str) -> None:
    register(env, 20)
    (claim,) = env.claims.recorded(Workspace.parse(WORKSPACE), MODEL, "20")["20"].claims
    values = {"action": "start", "claim": claim.key, "idempotency_key": "a-key-of-theirs"}
    fields = "".join(f'<input name="{name}" value="{value}">' for name, value in values.items())
    action = f"{host}{detail()}".replace("&", "&amp;")
    form = f'<form method="post" action="{action}">{fields}<button>Win</button></form>'
    with Server(lambda _: Response(form, mimetype="text/html")) as other:
        foreign = other.url.replace("127.0.0.1", name)
        with Visitor(browser, foreign) as visitor:
            visitor.open("/")
            with visitor.page.expect_navigation() as answer:
                visitor.page.get_by_role("button").click()
            assert answer.value.status == 403
            expect(visitor.page.get_by_text("a page of another site sent this request")).to_be_visible()
            visitor.was_answered(403)
            assert visitor.requests.pop().startswith(host)

    assert env.versions == ["20"]

"""The history page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from werkzeug.wrappers import Response

from local import demo
from local.azure_devops_faults import Fault
from local.functions_host import FunctionsHost
from local.serving import Server
from model_release import app as wiring
from model_release.domain.events import Workspace, parse
from model_release.domain.release_map import judge, starts
from tests import browser
from tests.browser import DISPLAYS, Display, Visitor
from tests.environment import BOTH, WORKSPACE, Accounts, World, event, register

MODEL = "sklearn_regression_model"
POST = {"method": "POST", "path": "/releases"}
KEY = "a key & more"
CODE = "code=a+key+%26+more"
LIST = f"/api/releases?{CODE}"
DESKTOP, PHONE_DARK = DISPLAYS[0], DISPLAYS[-1]
MARKUP = """</bdi></pre></title><script>alert(1)</script><img src=x onerror=alert(2)>"'><b onclick=alert(3)>"""
BACKWARDS = "\u202edrawkcab \u2067 \u05d0\u05d1\u05d2 "
DENIED = "VS402965: Access denied. Model Release needs Create releases permissions for Deploy sklearn model."
HOSTILE = MARKUP + BACKWARDS + "W" * 10_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each width and each colour scheme; with --full each width in each."""
    if "display" in metafunc.fixturenames:
        displays = DISPLAYS if metafunc.config.getoption("--full") else [DESKTOP, PHONE_DARK]
        metafunc.parametrize("display", displays, ids=str)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = browser.find()
    if not path:
        pytest.skip("no Chromium on this machine, and CHROMIUM_PATH does not name one")
    with browser.running(path) as found:
        yield found


@contextmanager
def served(world: World) -> Iterator[str]:
    host = FunctionsHost(world.function_app(), key=KEY)
    with host, Server(host) as server:
        yield server.url


@pytest.fixture
def host(world: World) -> Iterator[str]:
    with served(world) as url:
        yield url


@pytest.fixture(scope="module")
def full(accounts: Accounts) -> Iterator[tuple[World, str]]:
    """A history of three days and two pages: started, refused and, on the last day, many ignored."""
    with World(accounts.take()) as world, served(world) as url:
        world.clock.now = world.clock.now.replace(hour=12)
        for version in (18, 19):
            world.app.registered(event(version=version))
            world.clock.advance(days=1)
        # What is remembered of the definition is read anew before a refusal is believed.
        world.azure_devops.misbehave(Fault(**POST, status=403, body={"message": "Access denied."}, times=1))
        world.app.registered(event(version=20))
        # Lines of one moment have no order among them.
        world.clock.advance(seconds=1)
        for version in range(1, 54):
            world.app.ledger.ignore("no route names churn", f"models/churn:{version}")
            world.clock.advance(seconds=1)
        world.app.registered(event(model="churn", version=54))
        yield world, url


def story(version: int | str = 20, model: str = MODEL) -> str:
    return f"/api/releases/{model}/{version}?{CODE}"


def lines(page: Page) -> Locator:
    return page.locator("tbody tr")


# With the keyboard alone


def test_the_history_is_filtered_paged_and_opened(chromium: Browser, full: tuple[World, str], display: Display) -> None:
    world, url = full
    with Visitor(chromium, url, display) as visitor:
        page = visitor.page
        visitor.open(LIST)
        expect(lines(page)).to_have_count(3)
        visitor.tab_to(page.get_by_role("link", name="Skip to the content"))
        visitor.press("Enter")

        visitor.tab_to(page.get_by_label("Model"))
        page.keyboard.type("sklearn*")
        visitor.tab_to(page.get_by_label("State"))
        page.keyboard.type("refu")
        visitor.tab_to(page.get_by_role("button", name="Filter"))
        visitor.press("Enter")
        expect(lines(page)).to_have_count(1)
        expect(lines(page)).to_contain_text("refused Access denied. 1 attempt, next try")
        expect(page.get_by_label("Model")).to_have_value("sklearn*")
        expect(page.get_by_label("State")).to_have_value("refused")
        visitor.tab_to(page.get_by_role("link", name="Show all"))
        visitor.press("Enter")
        expect(lines(page)).to_have_count(3)

        for label in ("From", "To"):
            visitor.tab_to(page.get_by_label(label, exact=True))
            page.keyboard.type(f"{world.clock.now:%m%d%Y}")
        visitor.tab_to(page.get_by_label("Ignored too"))
        visitor.press("Space", "Enter")
        expect(lines(page)).to_have_count(50)
        visitor.tab_to(page.get_by_role("link", name="Older"), "Shift+Tab")
        visitor.press("Enter")
        expect(lines(page)).to_have_count(5)
        expect(lines(page).last).to_contain_text(f"{MODEL} 20")
        visitor.tab_to(page.get_by_role("link", name="Newest"), "Shift+Tab")
        visitor.press("Enter")
        expect(lines(page).first).to_contain_text("churn 54")

        visitor.tab_to(page.get_by_role("link", name="churn 54"), "Shift+Tab")
        visitor.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("churn 54")
        visitor.tab_to(page.get_by_role("link", name="All releases"))
        visitor.press("Enter")
        expect(lines(page)).to_have_count(3)


@BOTH
def test_starting_again_asks_first_and_then_tells_of_the_second_release(
    chromium: Browser, world: World, host: str, display: Display
) -> None:
    register(world, 20)
    with Visitor(chromium, host, display) as visitor:
        page = visitor.page
        visitor.open(story())
        button = page.get_by_role("button", name="Start the release again")
        expect(button).to_be_hidden()
        visitor.tab_to(page.locator("summary"))
        visitor.press("Enter")
        expect(page.locator("form")).to_contain_text(f"another release of {MODEL} 20")
        expect(page.locator("form")).to_contain_text(f"although {world.started[0]['name']} exists")
        assert world.versions == ["20"]

        visitor.tab_to(button)
        visitor.press("Enter")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(page.get_by_role("article")).to_have_count(2)
        newest = page.get_by_role("article").first
        expect(newest).to_contain_text("on purpose")
        expect(newest.get_by_role("link", name=world.started[1]["name"])).to_be_visible()
        assert world.versions == ["20", "20"]
        visitor.tab_to(page.get_by_role("link", name="All releases"))
        visitor.press("Enter")
        expect(lines(page).first).to_contain_text("started again on purpose")
        expect(lines(page).last).to_contain_text(world.started[0]["name"])


@BOTH
def test_a_refused_release_is_tried_now(chromium: Browser, world: World, host: str, display: Display) -> None:
    world.azure_devops.misbehave(Fault(**world.requests.start, status=403, body={"message": "Access denied."}, times=1))
    register(world, 20)
    with Visitor(chromium, host, display) as visitor:
        page = visitor.page
        visitor.open(story())
        visitor.tab_to(page.locator("summary"))
        visitor.press("Space")
        visitor.tab_to(page.get_by_role("button", name="Try it now"))
        visitor.press("Space")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(lines(page).nth(0)).to_contain_text("refused Access denied.")
        expect(lines(page).nth(1)).to_contain_text("started")
        assert world.versions == ["20"]


def test_the_map_is_asked_again_about_an_ignored_version(
    chromium: Browser, world: World, tmp_path: Path, display: Display
) -> None:
    register(world, 20)
    release_map = tmp_path / "map.yaml"
    release_map.write_text("{version: 1, routes: [{model: other, release: {project: fraud, definition: 1}}]}")
    world.app = world.start(RELEASE_MAP=str(release_map))
    register(world, 21)
    world.app = world.start()
    with served(world) as url, Visitor(chromium, url, display) as visitor:
        page = visitor.page
        visitor.open(story(21))
        expect(page.get_by_role("article")).to_contain_text(f"ignored no route names {MODEL}")
        expect(page.get_by_role("list")).to_contain_text(f"{MODEL} takes it")
        visitor.tab_to(page.locator("summary"))
        visitor.press("Enter")
        visitor.tab_to(page.get_by_role("button", name="Ask the map again"))
        visitor.press("Enter")

        expect(page.get_by_role("status")).to_contain_text("started")
        expect(page.get_by_role("link", name=world.started[1]["name"])).to_be_visible()
        assert world.versions == ["20", "21"]


# For everybody


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (LIST + "&ignored=yes&count=5", 200),
        (LIST + "&model=nothing", 200),
        (story(), 200),
        (story(54, "churn"), 200),
        (LIST + "&state=nothing&count=0", 400),
    ],
    ids=["the history", "filtered to nothing", "a story", "an ignored version", "a problem"],
)
def test_nothing_keeps_people_out(chromium: Browser, full: tuple[World, str], path: str, status: int) -> None:
    _, url = full
    with Visitor(chromium, url) as visitor:
        assert visitor.open(path).status == status
        if status != 200:
            visitor.was_answered(status)
        check(visitor)


def test_an_empty_history_tells_everybody_what_to_do_first(chromium: Browser, host: str) -> None:
    with Visitor(chromium, host) as visitor:
        visitor.open(LIST)
        expect(visitor.page.get_by_role("listitem").first).to_contain_text("python -m model_release check")
        check(visitor)
        visitor.page.get_by_role("link", name="Show ignored events").click()
        expect(visitor.page.get_by_text("Nothing matches.")).to_be_visible()


def check(visitor: Visitor) -> None:
    for summary in visitor.page.locator("summary").all():
        summary.click()
    for display in DISPLAYS:
        visitor.look_with(display)
        assert (display, visitor.barriers()) == (display, [])
    assert [width for width in (320, 390, 700, 1000) if visitor.scrolls_sideways(width)] == []


# What others write

# Of all text that is ours, the characters of a line go from left to right.
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


def test_what_others_write_is_shown_as_text(chromium: Browser, world: World, tmp_path: Path, display: Display) -> None:
    release = {"project": "fraud", "definition": "Deploy sklearn model", "description": "{model}"}
    routes = [
        {"name": f"route {HOSTILE}", "model": MODEL, "release": release},
        {"name": f"other {HOSTILE}", "model": MODEL, "tags": {MARKUP + BACKWARDS: "a"}, "release": release},
    ]
    release_map = tmp_path / "map.yaml"
    release_map.write_text(json.dumps({"version": 1, "routes": routes}))
    world.app = world.start(RELEASE_MAP=str(release_map))
    world.azure_devops.misbehave(Fault(**POST, status=403, body={"message": f"reason {HOSTILE}"}, times=1))
    world.app.registered(event(ModelTags={f"tag {MARKUP}{BACKWARDS}": HOSTILE}, ModelProperties={"p": MARKUP}))
    world.app.registered(event(version=21))
    world.app.registered(event(model=f"subject {MARKUP}{BACKWARDS}"))

    with served(world) as url, Visitor(chromium, url, display) as visitor:
        visitor.open(f"{LIST}&ignored=yes")
        check_text(visitor, f"reason {MARKUP}", f"subject {MARKUP}")
        visitor.open(story())
        check_text(visitor, f"route {MARKUP}", f"reason {MARKUP}", f"tag {MARKUP}", json.dumps(BACKWARDS[0])[1:-1])
        visitor.open(f"{LIST}&model={quote(MARKUP)}")
        visitor.was_answered(400)
        check_text(visitor, MARKUP[:20])
        visitor.open(f"/api/releases/{quote(MARKUP.replace('/', ''))}/1?{CODE}")
        visitor.was_answered(404)
        check_text(visitor, f"nothing is known of {MARKUP.replace('/', '')} 1")


def check_text(visitor: Visitor, *told: str) -> None:
    page = visitor.page
    shown = page.locator("main").inner_text()
    assert [text for text in told if text not in shown] == []
    assert page.locator("main :is(script, img, svg, iframe, [onerror], [onclick])").count() == 0
    assert page.evaluate(_RUNS_BACKWARDS) == []
    assert not visitor.scrolls_sideways(page.viewport_size["width"])


# One wish, one release


def test_a_button_that_is_pressed_twice_starts_one_release(chromium: Browser, world: World) -> None:
    register(world, 20)
    # The host has ended what it began when it is no longer served.
    with served(world) as url, Visitor(chromium, url) as visitor:
        page = visitor.page
        visitor.open(story())
        page.locator("summary").click()
        page.get_by_role("button", name="Start the release again").dblclick()
        expect(page.get_by_role("status")).to_contain_text("Done.")

    assert world.versions == ["20", "20"]


def test_who_presses_while_a_start_is_under_way_is_told_so(chromium: Browser, world: World, host: str) -> None:
    seen = parse(event())
    (start,) = starts(judge(world.app.release_map, seen), seen)
    world.app.ledger.claim(start, seen)
    with Visitor(chromium, host) as visitor:
        page = visitor.page
        visitor.open(story())
        page.locator("summary").click()
        page.get_by_role("button", name="Try it now").click()
        expect(page.get_by_role("status")).to_contain_text("starting")

    assert world.versions == []


def test_a_form_that_is_sent_again_after_going_back_starts_one_release(
    chromium: Browser, world: World, host: str
) -> None:
    register(world, 20)
    with Visitor(chromium, host) as visitor:
        page = visitor.page
        visitor.open(story())
        for _ in range(2):
            page.locator("summary").last.click()
            page.get_by_role("button", name="Start the release again").click()
            expect(page.get_by_role("status")).to_contain_text("started")
            page.reload()
            expect(page.get_by_role("article")).to_have_count(2)
            page.go_back()

        assert world.versions == ["20", "20"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_of_another_site_starts_nothing(chromium: Browser, world: World, host: str, name: str) -> None:
    register(world, 20)
    (claim,) = world.app.ledger.known(Workspace.parse(WORKSPACE), MODEL, "20")["20"].claims
    fields = f'<input name="claim" value="{claim.key}"><input name="wish" value="a-wish-of-theirs">'
    action = f"{host}{story()}".replace("&", "&amp;")
    form = f'<form method="post" action="{action}">{fields}<button>Win</button></form>'
    with Server(lambda _: Response(form, mimetype="text/html")) as other:
        foreign = other.url.replace("127.0.0.1", name)
        with Visitor(chromium, foreign) as visitor:
            visitor.open("/")
            with visitor.page.expect_navigation() as answer:
                visitor.page.get_by_role("button").click()
            assert answer.value.status == 403
            expect(visitor.page.get_by_text("made by a page of another site")).to_be_visible()
            visitor.was_answered(403)
            assert visitor.requests.pop().startswith(host)

    assert world.versions == ["20"]


# For the README


def test_pictures_of_the_demo(chromium: Browser, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--pictures"):
        pytest.skip("pictures are taken with --pictures")
    with demo.set_up() as stage:
        assert demo.play(stage) == []
        stage.azure_devops.misbehave(Fault(**POST, status=403, body={"message": DENIED}, times=1))
        stage.deliver(MODEL, 22)
        take(chromium, stage.host, "/api/releases?ignored=yes", Display(1200, 668, "light"), "history")
        take(chromium, stage.host, f"/api/releases/{MODEL}/21", Display(390, 960, "dark"), "story-phone-dark")


def take(chromium: Browser, host: str, path: str, display: Display, name: str) -> None:
    picture = wiring.HOME / f"docs/pictures/{name}.png"
    with Visitor(chromium, host, display) as visitor:
        visitor.open(path)
        visitor.page.screenshot(path=picture)
    assert picture.stat().st_size < 120_000

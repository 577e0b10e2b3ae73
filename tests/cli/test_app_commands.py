"""history, show and start in a terminal, against the app served by the local host."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner, Result
from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault
from local.functions_host import FunctionsHost
from local.serving import HangUp, Server
from model_release.__main__ import main
from tests.environment import WORKSPACE, World, event, register

MODEL = "sklearn_regression_model"
V20 = f"{MODEL}:20"
POST = {"method": "POST", "path": "/releases"}
WISH = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"


class Terminal:
    """Runs commands against the app, and loses its answers where it is told to."""

    def __init__(self, host: FunctionsHost) -> None:
        self._host = host
        self.received: list[Request] = []
        self.lose: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.received.append(request)
        answer = self._host(request)
        if request.method in self.lose:
            self.lose.remove(request.method)
            raise HangUp
        return answer

    def run(self, *arguments: str, width: int = 80, given: str = "") -> Result:
        environment = {"MODEL_RELEASE_URL": self.url, "MODEL_RELEASE_KEY": "secret", "COLUMNS": str(width)}
        return CliRunner(env=environment).invoke(main, arguments, input=given)

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json").stdout)


@contextmanager
def opened(world: World, changes: Mapping[str, str] = MappingProxyType({})) -> Iterator[Terminal]:
    host = FunctionsHost(world.function_app(world.build(**changes)), key="secret")
    terminal = Terminal(host)
    with host, Server(terminal) as server:
        terminal.url = server.url
        yield terminal


@pytest.fixture
def terminal(world: World) -> Iterator[Terminal]:
    with opened(world) as terminal:
        yield terminal


def words(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


# history


def test_the_history_is_a_table_in_utc_the_newest_first(world: World, terminal: Terminal) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(world, 22)
    world.later(minutes=2)
    began = world.clock().strftime("%Y-%m-%d %H:%M:%S")
    register(world, 21)

    lines = terminal.run("history", width=200).stdout.splitlines()

    assert lines[0].split("  ")[0] == "When (UTC)"
    assert [words for line in lines[2:] if (words := line.split())] == [
        [*began.split(), f"{MODEL}:21", "prod", "superseded", "version", "22", "is", "newer", "and", "came", "first"],
        [
            *lines[3].split()[:2],
            *(f"{MODEL}:22", "prod", "started", "route", MODEL, "takes", MODEL, "22", "(2", "attempts)", "Release-1"),
        ],
    ]


def test_the_history_fits_the_terminal(world: World, terminal: Terminal) -> None:
    register(world, 20, 19)

    for width in (40, 80, 140):
        lines = terminal.run("history", width=width).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert "superseded" in "".join(lines) or width < 80


def test_the_history_is_narrowed_as_it_is_asked(world: World, terminal: Terminal) -> None:
    register(world, 20, 19)
    register(world, 1, model="churn")

    def found(*options: str) -> list[str]:
        return [line["version"] for line in terminal.json("history", *options)["decisions"]]

    assert found() == ["19", "20"]
    assert found("--ignored") == ["1", "19", "20"]
    assert found("--model", "sklearn*", "--state", "started") == ["20"]
    assert found("--since", "2000-01-01", "--until", "2000-01-02") == []
    assert "No decision matches." in terminal.run("history", "--model", "none").stderr


def test_as_many_pages_are_asked_for_as_the_limit_wants(world: World, terminal: Terminal) -> None:
    register(world, *range(1, 6))
    _lengthen(world, 400)

    all_of_it = terminal.json("history", "--limit", "1000")
    some = terminal.json("history", "--limit", "250")

    assert (len(all_of_it["decisions"]), all_of_it["older"]) == (405, None)
    assert some["decisions"] == all_of_it["decisions"][:250]
    assert some["older"]
    assert [request.args["count"] for request in terminal.received] == ["200", "200", "200", "200", "50"]
    told = terminal.run("history", "--limit", "3")
    assert "There are older ones" in told.stderr
    assert "There are older ones" not in told.stdout


def _lengthen(world: World, count: int) -> None:
    table = world.app.ledger._table.client
    line = next(table.query_entities("PartitionKey eq 'recent'"))
    for first in range(0, count, 100):
        keys = [f"{line['RowKey'][:17]}{number:032x}" for number in range(first, first + 100)]
        table.submit_transaction([("create", dict(line, RowKey=key)) for key in keys])


def test_an_empty_history_says_so(terminal: Terminal) -> None:
    told = terminal.run("history")

    assert (told.exit_code, told.stdout) == (0, "")
    assert "Nothing has been decided yet" in told.stderr


def test_what_is_foreign_does_not_command_the_terminal(world: World, terminal: Terminal) -> None:
    hostile = "\x1b[2J[red]\N{RIGHT-TO-LEFT OVERRIDE}\x9b31m"
    world.app.registered(event(version=20, ModelTags={"area": hostile}))
    world.app.registered(json.dumps(json.loads(event()) | {"subject": hostile, "eventType": "none"}))

    for command in (
        ("history", "--ignored"),
        ("history", "--ignored", "--json"),
        ("show", V20),
        ("show", V20, "--json"),
    ):
        told = terminal.run(*command, width=300).stdout
        assert not {"\x1b", "\x9b", "\N{RIGHT-TO-LEFT OVERRIDE}"} & set(told)
        assert "[2J[red]" in told


# show


def test_a_story_is_told_whole(world: World, terminal: Terminal) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(world, 20)
    waiting = words(terminal.run("show", V20))
    world.later(minutes=2)

    told = words(terminal.run("show", V20, width=200))

    assert "State waiting: Azure DevOps is busy (429)" in waiting
    assert f"Next try {world.clock().strftime('%Y-%m-%d')}" in waiting
    assert f"{V20} in /subscriptions/" in told
    assert f"Release Release-1 {world.azure_devops_url}/contoso/fraud/_release?releaseId=1" in told
    assert f"started route {MODEL} takes {MODEL} 20 Routes" in told
    assert f"fraud models to production no route fraud models to production names fraud_*, not {MODEL}" in told
    assert '"ModelVersion": "20"' in told
    (story,) = terminal.json("show", V20)["stories"]
    assert [answer["state"] for answer in story["claims"][0]["answers"]] == ["waiting", "started"]


def test_the_story_of_an_ignored_version_says_why(world: World, terminal: Terminal) -> None:
    register(world, 1, model="churn")

    assert "Ignored: no route names churn Routes" in words(terminal.run("show", "churn:1"))


@pytest.mark.parametrize("text", ["churn", "churn:", ":1", "../x:1", "churn:1:2"])
def test_what_is_no_model_version_is_told(text: str) -> None:
    told = CliRunner().invoke(main, ["show", text])

    assert told.exit_code == 2
    assert "is not MODEL:VERSION" in told.output


# start


def test_a_started_version_starts_again_when_it_is_confirmed(world: World, terminal: Terminal) -> None:
    register(world, 20)

    for given, count in (("n\n", 1), ("", 1), ("y\n", 2)):
        told = terminal.run("start", V20, given=given)
        assert "This starts another release, on purpose, although there is:" in told.stderr
        assert f"Release-1  {world.azure_devops_url}" in told.stderr
        assert told.exit_code == (0 if count == 2 else 1)
        assert len(world.versions) == count

    assert told.stdout.startswith("started: started again on purpose")
    assert terminal.json("start", V20, "--yes")["decisions"][0]["release"]["name"] == "Release-3"


def test_an_older_version_is_started_after_a_newer_one(world: World, terminal: Terminal) -> None:
    register(world, 21, 20)

    told = terminal.run("start", V20, "--yes")

    assert "is superseded: version 21 is newer and came first\nThis starts another release, on purpose." in told.stderr
    assert world.versions == ["21", "20"]


def test_what_was_refused_is_tried_now(world: World, terminal: Terminal) -> None:
    world.azure_devops.misbehave(Fault(**POST, status=403, body={"message": "No."}, times=2))
    register(world, 20)

    refused, started = terminal.run("start", V20, "--yes"), terminal.run("start", V20, "--yes")

    assert "is refused: No.\nThis tries it now." in refused.stderr
    assert (refused.exit_code, refused.stdout) == (1, "refused: No.\n")
    assert (started.exit_code, world.versions) == (0, ["20"])


def test_a_wish_that_waits_is_tried_now_and_no_other_is_made(world: World, terminal: Terminal) -> None:
    register(world, 20)
    world.azure_devops.misbehave(Fault(**POST, status=429, times=1))

    assert terminal.run("start", V20, "--yes").stdout.startswith("waiting: ")
    world.clock.advance(minutes=2)
    assert terminal.run("start", V20, "--yes").stdout.startswith("started: ")

    assert world.versions == ["20", "20"]


def test_a_request_whose_answer_was_lost_is_repeated_and_starts_one_release(world: World, terminal: Terminal) -> None:
    register(world, 20)
    terminal.lose = ["POST"]

    told = terminal.run("start", V20, "--yes")

    assert told.exit_code == 0
    wishes = [request.get_json()["wish"] for request in terminal.received if request.method == "POST"]
    assert len(wishes) == 2
    assert len(set(wishes)) == 1
    assert world.versions == ["20", "20"]


def test_each_invocation_has_a_wish_of_its_own_unless_it_is_named(world: World, terminal: Terminal) -> None:
    register(world, 20)

    for options in ([], [], ["--wish", WISH], ["--wish", WISH]):
        assert terminal.run("start", V20, "--yes", *options).exit_code == 0

    assert world.versions == ["20"] * 4


def test_for_an_ignored_version_the_map_is_asked_again(world: World, terminal: Terminal, tmp_path: Path) -> None:
    register(world, 20, model="churn")
    still = terminal.run("start", "churn:20", "--yes")
    assert "By now no route would either." in still.stderr
    assert (still.exit_code, still.stdout) == (1, "ignored: no route names churn\n")
    world.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})

    with opened(world, release_map(tmp_path, "churn", "growth/Churn")) as terminal_now:
        told = terminal_now.run("start", "churn:20", "--yes")

    assert "By now churn would." in told.stderr
    assert told.exit_code == 0
    assert world.versions == ["20"]


def test_of_several_targets_one_must_be_named(world: World, tmp_path: Path) -> None:
    world.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})
    targets = ("growth/Churn", "fraud/Deploy sklearn model")
    changes = release_map(tmp_path, MODEL, *targets)
    world.start(**changes).registered(event())

    with opened(world, changes) as terminal:
        unnamed = terminal.run("start", V20, "--yes")
        wrong = terminal.run("start", V20, "--yes", "--target", "growth/None")
        named = terminal.run("start", V20, "--yes", "--target", "GROWTH/churn")

    for told in (unnamed, wrong):
        assert told.exit_code == 1
        assert all(target in told.output for target in targets)
    assert "--target" in unnamed.output
    assert named.exit_code == 0
    assert "growth/Churn is started" in named.stderr
    assert len(world.versions) == 3


def test_of_several_workspaces_one_must_be_named(world: World) -> None:
    dev, other = WORKSPACE.replace("workspaces/prod", "workspaces/dev"), WORKSPACE.replace("ml-prod", "ml-other")
    for ids, named in (((WORKSPACE, dev), "dev"), ((WORKSPACE, dev, other), other.lower())):
        changes = {"AML_WORKSPACES": ",".join(ids)}
        app = world.start(**changes)
        for id_ in ids:
            app.registered(event().replace(WORKSPACE, id_))
        with opened(world, changes) as terminal:
            unnamed = terminal.run("start", V20, "--yes")
            assert unnamed.exit_code == 1
            assert f"\n  {named}\n" in unnamed.output
            assert len(terminal.json("show", V20)["stories"]) == len(ids)
            assert terminal.run("start", V20, "--yes", "--workspace", named).exit_code == 0


# What goes wrong


def test_what_goes_wrong_is_told_with_what_to_do(world: World, terminal: Terminal) -> None:
    for command in (["history"], ["show", V20], ["start", V20, "--yes"]):

        def told(*options: str, command: Sequence[str] = command) -> str:
            done = terminal.run(*command, *options)
            assert done.exit_code == 1
            assert not done.stdout
            return done.stderr

        assert "az functionapp keys list" in told("--key", "wrong")
        assert "its log lists every fault" in told("--url", f"{terminal.url}/elsewhere")
        assert "--url or MODEL_RELEASE_URL" in told("--url", "http://127.0.0.1:9")
        assert "No scheme supplied" in told("--url", "localhost")


def test_storage_that_is_down_is_told(world: World, terminal: Terminal) -> None:
    world.storage.down = True

    told = terminal.run("show", V20)

    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith("Error: storage does not answer")


def test_what_the_app_does_not_take_is_told_in_its_words(terminal: Terminal) -> None:
    wrong, unknown = terminal.run("history", "--since", "soon", "--until", "later"), terminal.run("show", V20)

    assert (wrong.exit_code, unknown.exit_code) == (1, 1)
    assert "since: 'soon'" in wrong.stderr
    assert "until: 'later'" in wrong.stderr
    assert f"nothing is known of {MODEL} 20\nDid an event come? `history --ignored`" in unknown.stderr


def test_the_key_is_in_no_address_and_goes_to_no_other_place(terminal: Terminal) -> None:
    elsewhere = []
    other = Server(lambda request: elsewhere.append(request) or Response())
    with other, Server(lambda _: Response(status=307, headers={"Location": f"{other.url}/api"})) as moved:
        told = terminal.run("history", "--url", moved.url)
    terminal.run("history")

    assert f"points to {other.url}" in told.stderr
    assert elsewhere == []
    (request,) = terminal.received
    assert "secret" not in request.url
    assert request.headers["x-functions-key"] == "secret"


def release_map(folder: Path, model: str, *targets: str) -> dict[str, str]:
    routes = [
        {"model": model, "release": dict(zip(("project", "definition"), target.split("/"), strict=True))}
        for target in targets
    ]
    (folder / "map.yaml").write_text(json.dumps({"version": 1, "routes": routes}))
    return {"RELEASE_MAP": str(folder / "map.yaml")}

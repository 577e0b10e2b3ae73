"""`history`, `show`, `start` and `set-mark-back`, against the app in the local Functions host."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner, Result
from werkzeug.wrappers import Request, Response

from local.azure_devops_faults import Fault
from local.azure_ml import AzureMl
from local.functions_host import FunctionsHost
from local.functions_keys import Keys
from local.serving import HangUp, Server
from model_release import __version__
from model_release.__main__ import main
from tests.environment import IN_AZURITE, IN_MEMORY, WORKSPACE, Environment, event, register

pytestmark = IN_MEMORY

MODEL = "sklearn_regression_model"
V20 = f"{MODEL}:20"
POST = {"method": "POST", "path": "/releases"}
KEY = "5f0c9d3e-0d53-4d0e-9a53-3d1f6f3f2b11"


class Terminal:
    """Runs commands against the app; `lose` lists the methods whose next answer is lost."""

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
def opened(env: Environment, changes: Mapping[str, str] = MappingProxyType({})) -> Iterator[Terminal]:
    host = FunctionsHost(env.function_app(env.start(**changes)), key=Keys(host="secret"))
    terminal = Terminal(host)
    with host, Server(terminal) as server:
        terminal.url = server.url
        yield terminal


@pytest.fixture
def terminal(env: Environment) -> Iterator[Terminal]:
    with opened(env) as terminal:
        yield terminal


def words(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


# history


def test_the_history_is_a_table_in_utc_newest_first(env: Environment, terminal: Terminal) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 22)
    env.later(minutes=2)
    began = env.clock().strftime("%Y-%m-%d %H:%M:%S")
    register(env, 21)

    lines = terminal.run("history", width=200).stdout.splitlines()

    assert [column.strip() for column in lines[0].split("  ") if column.strip()] == [
        "Time (UTC)",
        "Model version",
        "Workspace",
        "State",
        "Reason",
        "Target, release",
    ]
    assert [cells for line in lines[2:] if (cells := re.split(r" {2,}", line.strip())) != [""]] == [
        [began, f"{MODEL}:21", "prod", "superseded", "version 22 was sent first", "fraud/1"],
        [
            lines[3][:19],
            *(
                f"{MODEL}:22",
                "prod",
                "started",
                f"route {MODEL} matches {MODEL}:22 (attempt 2)",
                "fraud/1, Release-1",
            ),
        ],
    ]


def test_the_history_fits_the_terminal(env: Environment, terminal: Terminal) -> None:
    register(env, 20, 19)

    for width in (40, 80, 140):
        lines = terminal.run("history", width=width).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert "superseded" in "".join(lines) or width < 80


def test_options_filter_the_history(env: Environment, terminal: Terminal) -> None:
    register(env, 20, 19)
    register(env, 1, model="churn")

    def found(*options: str) -> list[str]:
        return [entry["version"] for entry in terminal.json("history", *options)["entries"]]

    assert found() == ["19", "20"]
    assert found("--ignored") == ["1", "19", "20"]
    assert found("--model", "sklearn*", "--state", "started") == ["20"]
    assert found("--since", "2000-01-01", "--until", "2000-01-02") == []
    assert "No entry matches." in terminal.run("history", "--model", "none").stderr


@IN_AZURITE
def test_the_history_is_read_page_by_page_up_to_the_limit(env: Environment, terminal: Terminal) -> None:
    register(env, *range(1, 6))
    _lengthen(env, 400)

    everything = terminal.json("history", "--limit", "1000")
    some = terminal.json("history", "--limit", "250")

    assert (len(everything["entries"]), everything["continuation"]) == (405, None)
    assert some["entries"] == everything["entries"][:250]
    assert some["continuation"]
    assert [request.args["limit"] for request in terminal.received] == ["200", "200", "200", "200", "50"]
    done = terminal.run("history", "--limit", "3")
    assert "There are older entries" in done.stderr
    assert "There are older entries" not in done.stdout


def _lengthen(env: Environment, count: int) -> None:
    table = env.table
    row = next(table.query_entities("PartitionKey eq 'history'"))
    for first in range(0, count, 100):
        keys = [f"{row['RowKey'][:17]}{number:032x}" for number in range(first, first + 100)]
        table.submit_transaction([("create", dict(row, RowKey=key)) for key in keys])


def test_an_empty_history_is_reported_on_stderr(terminal: Terminal) -> None:
    done = terminal.run("history")

    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "The history is empty.\n")


def test_foreign_text_cannot_control_the_terminal(env: Environment, terminal: Terminal) -> None:
    hostile = "\x1b[2J[red]\N{RIGHT-TO-LEFT OVERRIDE}\x9b31m"
    env.registered(event(version=20, ModelTags={"area": hostile}))
    env.registered(json.dumps(json.loads(event()) | {"eventType": hostile}))

    for command in (
        ("history", "--ignored"),
        ("history", "--ignored", "--json"),
        ("show", V20),
        ("show", V20, "--json"),
    ):
        printed = terminal.run(*command, width=300).stdout
        assert not {"\x1b", "\x9b", "\N{RIGHT-TO-LEFT OVERRIDE}"} & set(printed)
        assert "[2J[red]" in printed


# --url


@pytest.mark.parametrize("path", ["/", "/api/releases", "/runtime/webhooks/EventGrid"])
def test_a_path_of_a_function_and_a_missing_scheme_are_understood(terminal: Terminal, path: str) -> None:
    for url in (terminal.url, terminal.url.removeprefix("http://")):
        assert "The history is empty" in terminal.run("history", "--url", url + path).stderr


@pytest.mark.parametrize(
    "url",
    ["ftp://host", "http://", "https://host/other", "https://host?code=SECRET", "https://u:SECRET@host", "h:port"],
)
def test_another_address_is_wrong_usage(terminal: Terminal, url: str) -> None:
    done = terminal.run("history", "--url", url)

    assert done.exit_code == 2
    assert "address" in done.stderr
    assert "SECRET" not in done.stderr


def test_what_the_app_calls_wrong_is_wrong_usage(terminal: Terminal) -> None:
    assert terminal.run("history", "--since", "yesterday").exit_code == 2


# show


def test_show_prints_the_address_of_the_section_if_it_is_known(env: Environment) -> None:
    register(env, 20)

    with opened(env, {"OPERATIONS_URL": "https://contoso.example/operations"}) as terminal:
        shown = words(terminal.run("show", V20, width=200))

    assert "See https://contoso.example/operations#the-release-exists-and-no-stage-runs" in shown


def test_show_prints_claims_attempts_routes_and_the_event(env: Environment, terminal: Terminal) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 20)
    waiting = words(terminal.run("show", V20))
    env.later(minutes=2)

    started = words(terminal.run("show", V20, width=200))

    assert (
        "State waiting Meaning Azure DevOps asked for a pause. What to do Do nothing, or try it now despite the pause. "
        "See docs/operations.md#a-model-version-is-waiting Reason Azure DevOps is throttling requests" in waiting
    )
    assert f"Next attempt {env.clock().strftime('%Y-%m-%d')}" in waiting
    assert f"{V20} in /subscriptions/" in started
    assert f"Release Release-1 {env.azure_devops_url}/contoso/fraud/_release?releaseId=1" in started
    assert f"started route {MODEL} matches {V20} Routes" in started
    assert f"fraud models to production no model '{MODEL}' does not match 'fraud_*'" in started
    assert '"ModelVersion": "20"' in started
    (detail,) = terminal.json("show", V20)["model_versions"]
    assert [attempt["state"] for attempt in detail["claims"][0]["attempts"]] == ["waiting", "started"]


def test_show_prints_the_stages_of_a_release_if_asked(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    staging, production = env.azure_devops.releases[0]["environments"]
    staging["status"] = "succeeded"
    production["preDeployApprovals"] = [{"status": "pending", "approver": {"displayName": "Owners"}}]

    assert "State started (the release exists; --outcome shows its stages)" in words(terminal.run("show", V20))
    assert "Outcome Staging: succeeded Production: not started; approval pending: Owners" in words(
        terminal.run("show", V20, "--outcome")
    )
    env.azure_devops.misbehave(Fault(path="/releases/1", status=403, body={"message": "Access denied."}))
    assert "Outcome not available: Access denied." in words(terminal.run("show", V20, "--outcome"))


def test_show_prints_why_a_version_is_ignored(env: Environment, terminal: Terminal) -> None:
    register(env, 1, model="churn")

    shown = words(terminal.run("show", "churn:1"))

    assert "Ignored Meaning No route names this model. What to do Add a route" in shown
    assert "Reason no route names the model churn Routes" in shown


@pytest.mark.parametrize("text", ["churn", "churn:", ":1", "../x:1", "churn:1:2"])
def test_a_wrong_model_version_is_a_usage_error(text: str) -> None:
    done = CliRunner().invoke(main, ["show", text])

    assert done.exit_code == 2
    assert "is not MODEL:VERSION" in done.output


# targets


def test_targets_shows_what_is_released_where_with_what_needs_attention_first(
    env: Environment, terminal: Terminal
) -> None:
    register(env, 20)
    env.azure_devops.misbehave(Fault(**POST, status=403, body={"message": "No."}, times=1))
    register(env, 21)
    assert terminal.run("targets").stderr == "Nothing was started.\n"
    env.sweep()

    lines = terminal.run("targets", width=200).stdout.splitlines()

    assert re.split(r" {2,}", lines[0].strip()) == [
        *("Model", "Target", "Started last", "Since (UTC)", "By", "Version", "State", "Reason"),
    ]
    (row,) = (line for line in lines[2:] if line.strip())
    assert re.split(r" {2,}", row.strip())[:3] == [MODEL, "fraud/1", "20"]
    assert re.split(r" {2,}", row.strip())[4:] == [f"route {MODEL}", "21", "refused", "No."]


def test_options_filter_the_targets_and_rebuild_them(env: Environment, terminal: Terminal) -> None:
    register(env, 20)

    assert terminal.run("targets", "--rebuild", "--model", "churn").stderr == (
        "1 targets were built again.\nNo target matches.\n"
    )
    assert [one["started"]["version"] for one in terminal.json("targets", "--model", "SKLEARN")["targets"]] == ["20"]
    assert terminal.json("targets", "--pinned")["targets"] == []
    assert terminal.json("targets", "--state", "open")["targets"] == []


def test_targets_shows_a_pin_and_the_versions_that_it_holds(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    assert terminal.run("pin", MODEL, "--comment", "21 regressed", "--by", "Ada", "--yes").exit_code == 0
    register(env, 21)
    env.sweep()

    assert "20 (pinned)" in words(terminal.run("targets", "--pinned", width=200))
    (target,) = terminal.json("targets", "--state", "held")["targets"]
    assert (target["attention"], target["pin"]["by"], target["pin"]["waits"]) == ("held", "Ada", False)
    assert [(one["version"], one["state"]) for one in target["others"]] == [("21", "held")]


def test_the_version_is_that_of_the_app_and_of_the_map(terminal: Terminal) -> None:
    text = terminal.run("--version").stdout

    assert re.fullmatch(rf"Model Release {re.escape(__version__)}, release map ([0-9a-f]{{12}}|not found)\n", text)


# start


def test_a_pending_claim_is_tried_despite_the_throttle_only_if_the_person_overrides_it(
    env: Environment, terminal: Terminal
) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, headers={"Retry-After": "600"}, times=1))
    register(env, 20)

    waits = terminal.run("start", V20, "--yes")
    assert "Azure DevOps asked for a pause until" in waits.stderr
    assert "To override it: --despite-throttle" in waits.stderr
    assert waits.stdout.startswith("waiting: Azure DevOps is throttling requests")
    assert env.versions == []

    started = terminal.run("start", V20, "--yes", "--despite-throttle")
    assert "asked for a pause" not in started.stderr
    assert (started.exit_code, env.versions) == (0, ["20"])


@IN_AZURITE
def test_a_started_version_is_restarted_after_confirmation(env: Environment, terminal: Terminal) -> None:
    register(env, 20)

    for given, count in (("n\n", 1), ("", 1), ("y\n", 2)):
        done = terminal.run("start", V20, given=given)
        assert "This starts another release in addition to:\n  Release-1  " + env.azure_devops_url in done.stderr
        assert done.exit_code == (0 if count == 2 else 1)
        assert len(env.versions) == count

    assert done.stdout.startswith("started: restarted manually; route")
    assert terminal.json("start", V20, "--yes")["entries"][0]["release"]["name"] == "Release-3"


def test_an_older_version_is_started_after_a_newer_one(env: Environment, terminal: Terminal) -> None:
    register(env, 21, 20)

    done = terminal.run("start", V20, "--yes")

    assert "is superseded: version 21 was sent first\nThis starts another release.\n" in done.stderr
    assert env.versions == ["21", "20"]


def test_a_refused_claim_is_tried_now(env: Environment, terminal: Terminal) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=403, body={"message": "No."}, times=2))
    register(env, 20)

    refused, started = terminal.run("start", V20, "--yes"), terminal.run("start", V20, "--yes")

    assert "is refused: No.\nThis tries it now." in refused.stderr
    assert refused.exit_code == 1
    assert refused.stdout.startswith("refused: No.; matched with the tags (area = diabetes")
    assert (started.exit_code, env.versions) == (0, ["20"])


def test_a_pending_restart_is_tried_now_instead_of_a_second_one(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))

    assert terminal.run("start", V20, "--yes").stdout.startswith("waiting: ")
    env.clock.advance(minutes=2)
    assert terminal.run("start", V20, "--yes").stdout.startswith("started: ")

    assert env.versions == ["20", "20"]


def test_a_request_whose_answer_is_lost_is_repeated_with_its_key(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    terminal.lose = ["POST"]

    done = terminal.run("start", V20, "--yes")

    assert done.exit_code == 0
    keys = [request.get_json()["idempotency_key"] for request in terminal.received if request.method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert env.versions == ["20", "20"]


def test_each_call_has_its_own_idempotency_key_unless_it_is_given(env: Environment, terminal: Terminal) -> None:
    register(env, 20)

    for options in ([], [], ["--idempotency-key", KEY], ["--idempotency-key", KEY]):
        done = terminal.run("start", V20, "--yes", *options)
        assert done.exit_code == 0

    assert env.versions == ["20"] * 4
    assert "Nothing new was started: this idempotency key started it at" in done.stderr


def test_an_idempotency_key_for_a_pending_claim_and_an_invalid_one_are_refused(
    env: Environment, terminal: Terminal
) -> None:
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 20)

    refused = terminal.run("start", V20, "--yes", "--idempotency-key", KEY)
    invalid = terminal.run("start", V20, "--yes", "--idempotency-key", "key 1")

    assert refused.exit_code == 1
    assert "This claim is waiting, so no other release is started. To try it now, leave out" in refused.stderr
    assert invalid.exit_code == 2
    assert "'key 1' is not 8 to 64 letters, digits and '-'" in invalid.stderr
    assert env.versions == []


def test_an_ignored_version_is_matched_again(env: Environment, terminal: Terminal, tmp_path: Path) -> None:
    register(env, 20, model="churn")
    still = terminal.run("start", "churn:20", "--yes")
    assert "With the tags of its event, no route matches in the current release map." in still.stderr
    assert still.exit_code == 1
    assert still.stdout.startswith("ignored: no route names the model churn; matched with the tags (area = diabetes")
    env.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})

    with opened(env, release_map(tmp_path, "churn", "growth/Churn")) as changed:
        done = changed.run("start", "churn:20", "--yes")

    assert "route churn matches in the current release map" in done.stderr
    assert done.exit_code == 0
    assert env.versions == ["20"]


def test_a_version_that_no_event_announced_is_started_once_for_each_key(env: Environment, azure_ml: AzureMl) -> None:
    azure_ml.add_version(WORKSPACE, MODEL, "20", created=env.clock(), tags={"stage": "production"})
    with opened(env) as terminal:
        first, second = (terminal.run("start", V20, "--yes", "--idempotency-key", KEY) for _ in range(2))
        missing = terminal.run("start", f"{MODEL}:21", "--yes")

    assert first.stderr.startswith(f"{V20} is not recorded\nThis reads it from Azure ML")
    assert "matched with the tags (stage = production) and properties (none) in Azure ML now" in first.stdout
    assert (first.exit_code, second.exit_code, env.versions) == (0, 0, ["20"])
    assert (missing.exit_code, missing.stderr.splitlines()[-1]) == (
        1,
        f"Error: Azure ML has no version 21 of {MODEL}; compare it with workspace prod",
    )


def test_one_of_several_targets_must_be_chosen(env: Environment, tmp_path: Path) -> None:
    env.azure_devops.add_definition("growth", "Churn", variables={"ModelVersion": ""})
    targets = ("growth/Churn", "fraud/Deploy sklearn model")
    changes = release_map(tmp_path, MODEL, *targets)
    env.start(**changes).start_release.registered(event())

    with opened(env, changes) as terminal:
        without = terminal.run("start", V20, "--yes")
        wrong = terminal.run("start", V20, "--yes", "--target", "growth/None")
        chosen = terminal.run("start", V20, "--yes", "--target", "GROWTH/churn")

    for done in (without, wrong):
        assert done.exit_code == 1
        assert all(target in done.output for target in targets)
    assert "--target" in without.output
    assert chosen.exit_code == 0
    assert "growth/Churn is started" in chosen.stderr
    assert len(env.versions) == 3


def test_one_of_several_workspaces_must_be_chosen(env: Environment) -> None:
    dev, other = WORKSPACE.replace("workspaces/prod", "workspaces/dev"), WORKSPACE.replace("ml-prod", "ml-other")
    for ids, choice in (((WORKSPACE, dev), "dev"), ((WORKSPACE, dev, other), other.lower())):
        changes = {"AML_WORKSPACES": ",".join(ids)}
        start_release = env.start(**changes).start_release
        for id_ in ids:
            start_release.registered(event().replace(WORKSPACE, id_))
        with opened(env, changes) as terminal:
            without = terminal.run("start", V20, "--yes")
            assert without.exit_code == 1
            assert f"\n  {choice}\n" in without.output
            assert len(terminal.json("show", V20)["model_versions"]) == len(ids)
            assert terminal.run("start", V20, "--yes", "--workspace", choice).exit_code == 0


# set-mark-back

V25 = f"{MODEL}:25"
SET_BACK = ("set-mark-back", V25, "--comment", "99999 was a mistake")


def test_the_mark_is_set_back_after_confirmation(env: Environment, terminal: Terminal) -> None:
    register(env, 99999, 25)

    for given, code in (("n\n", 1), ("", 1), ("y\n", 0)):
        done = terminal.run(*SET_BACK, "--by", "Ada", given=given)
        assert done.stderr.startswith(
            f"{V25} at fraud/1 is superseded: version 99999 was sent first\n"
            "This sets the high-water mark back to version 25. Newer versions start again when they are registered; "
            f"{V25} itself is not started.\nThe history shows that Ada did this, with the comment.\n"
        )
        assert done.exit_code == code
    register(env, 26)

    assert done.stdout == "superseded: high-water mark set back from version 99999 by Ada: 99999 was a mistake\n"
    assert env.versions == ["99999", "26"]


def test_a_version_is_started_with_a_pin_and_the_pin_is_removed(env: Environment, terminal: Terminal) -> None:
    register(env, 20, 21)
    pin = ("start", V20, "--pin", "--comment", "21 regressed on EU", "--by", "alice")

    started = words(terminal.run(*pin, given="y\n"))
    register(env, 22, 23)
    moved = terminal.run("start", V20, "--by", "bob", given="n\n")
    removed = words(terminal.run("unpin", MODEL, "--comment", "fixed", "--by", "bob", given="y\n", width=200))

    assert "This pins it: newer versions are held until `unpin`." in started
    assert "UTC by alice (stated): 21 regressed on EU. The app refuses this" in moved.stderr
    assert "Newer versions are pending here: 23 (held), 22 (held). They are held until `unpin`." in moved.stderr
    assert "Pending at fraud/1: 22 (held), 23 (held)." in removed
    assert "This removes the pin and starts the newest version that is held." in removed
    assert env.versions == ["20", "21", "20", "23"]


def test_what_is_out_is_pinned_and_kept(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    why = ("--comment", "why", "--by", "alice", "--yes")

    (pinned,) = terminal.json("pin", MODEL, *why)["entries"]
    register(env, 21)
    refused = terminal.run("start", f"{MODEL}:21", "--yes")
    entries = terminal.json("unpin", MODEL, "--keep", *why)["entries"]

    assert (pinned["by"], pinned["comment"]) == ("alice", "why")
    assert refused.exit_code == 1
    assert "Error: 20 is pinned since" in refused.stderr
    assert [entry["state"] for entry in entries] == ["started", "superseded"]
    assert env.versions == ["20"]
    for command, code, error in (
        (("unpin", MODEL, *why), 1, f"{MODEL} is not pinned at fraud/1."),
        (("pin", "churn", *why), 1, "churn has no claim"),
        (("start", V20, "--pin", "--yes"), 2, "--pin needs --comment"),
    ):
        done = terminal.run(*command)
        assert (done.exit_code, error in done.stderr) == (code, True), done.stderr


def test_a_plain_start_names_the_newer_versions_that_replace_it(env: Environment, terminal: Terminal) -> None:
    register(env, 20)
    env.azure_devops.misbehave(Fault(**POST, status=429, times=1))
    register(env, 24)

    done = terminal.run("start", V20, given="n\n")

    assert "Newer versions are pending here: 24 (waiting)." in done.stderr
    assert "They are released after it, and replace it; --pin holds them." in done.stderr


def test_the_signed_in_user_sets_the_mark_back_by_default(
    env: Environment, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(env, 99999, 25)
    monkeypatch.setenv("LOGNAME", "grace")

    (entry,) = terminal.json(*SET_BACK, "--yes")["entries"]

    assert entry["reason"] == "high-water mark set back from version 99999 by grace: 99999 was a mistake"


def test_a_user_without_a_name_must_set_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", no_name)

    done = terminal.run(*SET_BACK, "--yes")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "set --by" in done.stderr


def test_a_mark_that_cannot_be_set_back_is_an_error(env: Environment, terminal: Terminal) -> None:
    register(env, 25)
    register(env, 1, model="churn")

    for command, code, error in (
        (SET_BACK, 1, "the high-water mark of fraud/1 is not above version 25"),
        ((*SET_BACK, "--by", " ", "--comment", ""), 2, "by: '' is not 1 to 100 printable characters; comment: ''"),
        (("set-mark-back", "churn:1", "--comment", "why"), 1, "This version has no claim"),
    ):
        done = terminal.run(*command, "--yes")
        assert (done.exit_code, done.stdout) == (code, "")
        assert f"Error: {error}" in done.stderr
    assert terminal.run("set-mark-back", V25, "--yes").exit_code == 2


# Errors


@pytest.mark.parametrize(
    "command",
    [["history"], ["show", V20], ["start", V20, "--yes"], [*SET_BACK, "--yes"]],
    ids=lambda words: words[0],
)
def test_an_error_names_the_problem_and_what_to_do(terminal: Terminal, command: Sequence[str]) -> None:
    def error(*options: str) -> str:
        done = terminal.run(*command, *options)
        assert (done.exit_code, done.stdout) == (1, "")
        return done.stderr

    assert "az functionapp keys list" in error("--key", "wrong")
    assert "The key is not valid" in error("--key", "wrong\n")
    assert error("--url", "http://127.0.0.1:9") == (
        "Error: http://127.0.0.1:9 cannot be reached: connection refused. "
        "Is the app running? Set its address with --url or MODEL_RELEASE_URL.\n"
    )


@IN_AZURITE
def test_an_error_of_the_app_is_printed(env: Environment, terminal: Terminal) -> None:
    wrong, unknown = terminal.run("history", "--since", "soon", "--until", "later"), terminal.run("show", V20)
    env.storage.down = True
    down = terminal.run("show", V20)

    assert [(done.exit_code, done.stdout) for done in (wrong, unknown, down)] == [(2, ""), (1, ""), (1, "")]
    assert "since: 'soon'" in wrong.stderr
    assert "until: 'later'" in wrong.stderr
    assert f"{V20} is not recorded\nDid its event arrive? `history --ignored`" in unknown.stderr
    assert down.stderr.startswith("Error: storage")


def test_the_key_is_a_header_and_a_redirect_is_not_followed(terminal: Terminal) -> None:
    elsewhere = []
    other = Server(lambda request: elsewhere.append(request) or Response())
    with other, Server(lambda _: Response(status=307, headers={"Location": f"{other.url}/api"})) as moved:
        done = terminal.run("history", "--url", moved.url)
    terminal.run("history")

    assert f"redirects to {other.url}" in done.stderr
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

"""Foreign text: no credential and no value of a tag passes, and no character controls what shows it."""

import base64
import json
import logging
import sys
import unicodedata
from urllib.parse import quote

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from model_release.cli.main import Commands
from model_release.cli.terminal import show_json, show_table, show_text
from model_release.domain.claims import AttemptResult, State
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.publish import outcome_event
from model_release.log import entry_line, get_logger, log_catch_up
from model_release.reason import Reason, ReasonKind
from model_release.text import as_reason, hide_values, keep_secret, redact, shorten, visible
from model_release.web import pages
from tests.in_memory import DAY, MINUTE, NOON, Process, event_body

PLANTED = "planted/secret+of=ours"
FORMS = {
    "plain": PLANTED,
    "basic": base64.b64encode(f":{PLANTED}".encode()).decode(),
    "base64": base64.b64encode(PLANTED.encode()).decode(),
    "base64 after a name": base64.b64encode(f"me:{PLANTED}".encode()).decode(),
    "base64 of addresses": base64.urlsafe_b64encode(PLANTED.encode()).decode().rstrip("="),
    "base64, quoted": quote(base64.b64encode(f":{PLANTED}".encode()), safe=""),
    "hexadecimal": PLANTED.encode().hex(),
    "quoted": quote(PLANTED, safe=""),
    "quoted in a path": quote(PLANTED),
    "quoted in lower case": quote(PLANTED, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "quoted twice": quote(quote(PLANTED, safe=""), safe=""),
    "JSON with escaped slashes": json.dumps(PLANTED).replace("/", "\\/"),
}
# Control characters, terminal escapes, separators of lines, and the characters that change the direction.
HOSTILE = "\x1b[2J\x07\x9b31m\x7f\r\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff"
UNSAFE = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])


def unsafe(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in UNSAFE} - {"\n"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("function", [shorten, as_reason, redact, visible])
def test_a_secret_of_ours_is_hidden_in_each_form(form: str, function: object) -> None:
    keep_secret("planted", PLANTED)

    assert FORMS[form] not in function(f"the token {FORMS[form]} is wrong")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Basic OnBsYW50ZWQtdG9rZW4=", "OnBsYW50ZWQtdG9rZW4="),
        ("Authorization: Bearer planted-token", "planted-token"),
        ("bearer\tabcdefgh1234", "abcdefgh1234"),
        ("SharedKey account:c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        ("https://me:planted@dev.azure.com/x", "planted"),
        ("https://app/api/releases?x=1&code=planted", "planted"),
        ("https://a.blob/x?sv=1&sig=planted%3D", "planted"),
        ('{"x-functions-key": "planted"}', "planted"),
        ("aeg-sas-key: planted", "planted"),
        ("AccountName=a;AccountKey=planted==;EndpointSuffix=x", "planted"),
        ("SharedAccessSignature=sv=planted", "planted"),
        ("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        ("Authorization: Basic OnBsYWFhYWFh", "OnBsYWFhYWFh"),
        ("authorization=Bearer%20planted12", "planted12"),
        ("https://planted@dev.azure.com/x", "planted"),
        ("https://me:first@planted@dev.azure.com/x", "planted"),
        ("https://app/api?x=1&amp;code=planted", "planted"),
        ("next=https%3A%2F%2Fapp%2Fapi%3Fcode%3Dplanted", "planted"),
        ("the answer has sig=planted", "planted"),
        ('{"access_token":"planted"}', "planted"),
        ("refresh_token=planted", "planted"),
        ("[(b'x-functions-key', b'planted')]", "planted"),
        ("Ocp-Apim-Subscription-Key: planted", "planted"),
        ("X-IDENTITY-HEADER: planted", "planted"),
        ("Set-Cookie: planted=1", "planted"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str, hidden: str) -> None:
    assert hidden not in redact(text)
    assert "[hidden]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "use Basic authentication, not Bearer tokens",
        "add the identity with a Basic license.",
        "Azure DevOps answered 401: error code: VS402962",
        "the password is wrong",
        "Basic Authentication is off for this organization",
        "error code=5, and token: none",
        "https://dev.azure.com/contoso/fraud/_release?releaseId=1&_a=release-summary",
    ],
)
def test_words_of_a_sentence_are_kept(text: str) -> None:
    assert redact(text) == text


def test_a_secret_that_is_a_part_of_another_one_leaves_nothing_of_it() -> None:
    keep_secret("planted", PLANTED)
    keep_secret("longer", f"{PLANTED}-and-the-rest")

    assert redact(f"{PLANTED}-and-the-rest or {PLANTED}") == "[hidden] or [hidden]"


def test_a_secret_at_the_limit_of_a_text_is_not_cut_in_two() -> None:
    keep_secret("planted", PLANTED)

    assert PLANTED[:8] not in shorten("a" * 190 + PLANTED)
    assert PLANTED[:8] not in as_reason("a" * 3_990 + PLANTED)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The value 'top-secret' is not allowed.", "top-secret"),
        ("The value TOP-SECRET is not allowed.", "top-secret"),
        (f"The value {'x' * 100}… is too long", "x" * 300),
        ("The value 'a; b' is wrong", "a\nb"),
        ('{"value": "say \\"yes\\""}', 'say "yes"'),
        ("stage 7 is not allowed", "7"),
        ("no page /x?stage=a%20b%2Fc", "a b/c"),
        ("no page /x?stage=a+b%2Fc", "a b/c"),
        ("<p>a &lt;b&gt; &amp; &quot;c&quot; is wrong</p>", 'a <b> & "c"'),
    ],
)
def test_values_that_a_service_repeats_are_hidden(text: str, value: str) -> None:
    hidden = hide_values(text, [value])

    assert "[hidden]" in hidden
    assert value.lower() not in hidden.lower()
    assert value[:20] not in hidden


def test_a_short_value_is_hidden_as_a_word_only_and_an_empty_one_not_at_all() -> None:
    assert hide_values("version 17 of 7 models", ["7", "", " "]) == "version 17 of [hidden] models"


@given(st.text(), st.lists(st.text()))
def test_hiding_values_ends_for_any_text(text: str, values: list[str]) -> None:
    hide_values(text, values)


@given(st.text(st.characters(), min_size=1))
def test_no_character_that_controls_the_display_passes(text: str) -> None:
    text += HOSTILE

    assert unsafe(visible(text)) == set()
    for channel in (shorten(text), as_reason(text)):
        assert unsafe(channel) == set()
        assert "\n" not in channel
    assert visible(text).isascii() or not unsafe(text) & set(visible(text))


def test_every_character_of_unicode_is_shown_as_text() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))

    assert unsafe(visible(every)) == set()


def printed(action: object) -> str:
    command = click.command()(action)  # type: ignore[arg-type]
    return CliRunner().invoke(command, env={"COLUMNS": "300"}).output


def test_each_channel_shows_hostile_text_as_text(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("planted", PLANTED)
    foreign = f"{HOSTILE} {PLANTED} Bearer planted-token"

    def fail() -> None:
        raise click.UsageError(foreign)

    group = Commands("group", commands={"fail": click.Command("fail", callback=fail)})
    channels = {
        "text": printed(lambda: show_text(foreign)),
        "JSON": printed(lambda: show_json({"x": foreign})),
        "table": printed(lambda: show_table(("A",), [(foreign,)])),
        "error": CliRunner().invoke(group, ["fail"]).output,
    }
    caplog.set_level(logging.INFO)
    get_logger("model_release.flow.sweep").error("%s", foreign, exc_info=RefusedError(foreign))
    channels["log"] = "\n".join(record.getMessage() for record in caplog.records)
    frame = {"tabs": {"Now": "", "History": ""}, "active": "", "strip": None, "refresh": "", "versions": {}}
    channels["page"] = pages.render("error", title="x", error=as_reason(foreign), **frame)

    for name, text in channels.items():
        assert unsafe(text) == set(), name
        assert "planted" not in text, name


def test_an_exception_is_logged_with_causes_and_notes_and_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("planted", PLANTED)
    error = RefusedError(f"the error has {FORMS['quoted twice']}")
    error.add_note(f"the note has {HOSTILE} {PLANTED}")
    try:
        raise error from ValueError(f"the cause has {PLANTED}")
    except RefusedError:
        get_logger("model_release.flow.sweep").exception("failed")

    text = caplog.records[-1].getMessage()
    assert all(part in text for part in ("the cause has [hidden]", "the error has [hidden]", "the note has"))
    assert "planted" not in text
    assert unsafe(text) == set()


def test_a_log_line_stays_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    log_catch_up(HOSTILE, listed=1, started=0, unannounced=0, complete=True)

    line = caplog.records[-1].getMessage()
    assert unsafe(line) == set()
    assert json.loads(line)["workspace"] == HOSTILE


@pytest.mark.parametrize("error", [RefusedError, TemporaryError])
def test_values_of_tags_that_azure_devops_repeats_are_in_the_history_only(error: type[Exception]) -> None:
    process = Process()
    body = event_body(stage="planted-tag-value")
    process.azure_devops.creating = [error("the value 'planted-tag-value' of Stage is wrong")]  # type: ignore[list-item]

    (entry,) = process.start_release.registered(body)
    claim = process.claims.find(*next(key for key in process.client.rows if key[0].startswith("claim")))

    assert claim
    assert "planted-tag-value" in entry.reason
    assert "planted-tag-value" not in json.dumps(entry_line(entry))
    assert "'[hidden]' of Stage" in entry_line(entry)["reason"]
    refused = claim.attempts[0]
    if entry.state is State.REFUSED:
        assert "planted-tag-value" not in json.dumps(outcome_event(claim, refused))


def test_an_abandoned_claim_is_logged_without_values_of_tags() -> None:
    process = Process()
    body = event_body(stage="planted-tag-value")
    refusal = RefusedError("the value 'planted-tag-value' is wrong")
    process.azure_devops.creating = [refusal, refusal]
    process.start_release.registered(body)
    process.later(8 * DAY)

    (entry,) = process.sweep.run()

    assert entry.state is State.ABANDONED
    assert "planted-tag-value" in entry.reason
    assert "planted-tag-value" not in json.dumps(entry_line(entry))


def test_what_is_recorded_has_no_credential_and_no_control_character() -> None:
    process = Process()
    keep_secret("planted", PLANTED)
    claim = process.inserted()

    entry = process.recorder.record(
        claim, AttemptResult(State.REFUSED, Reason(ReasonKind.REFUSED, f"{HOSTILE}\n{PLANTED}"), NOON + MINUTE)
    )

    recorded = process.claims.get(claim.partition, claim.row)
    for text in (entry.reason, recorded.reason, recorded.attempts[0].reason):
        assert unsafe(text) == set()
        assert PLANTED not in text


def test_the_reason_of_a_foreign_workspace_is_short() -> None:
    process = Process()
    workspace = "/subscriptions/" + "x" * 10_000
    body = json.loads(event_body())
    body["source"] = body["source"].replace("/subscriptions/s", workspace)

    (entry,) = process.start_release.registered(json.dumps(body))

    assert entry.state is State.IGNORED
    assert len(entry.reason) < 300

"""Each reason says what it means and what to do, and names a section of the operations page."""

import ast
import re

import pytest

from model_release.app import HOME
from model_release.domain.claims import State
from model_release.domain.history import HistoryQuery
from model_release.errors import AzureDevOpsError, RefusedError, TemporaryError, UnknownOutcomeError
from model_release.reason import Reason, ReasonKind
from model_release.web.advice import NEEDS_PERSON, OF_KIND, OF_STATE, Advice, advice
from model_release.web.views import entry
from tests.in_memory import WORKSPACE, Process, event_body

KINDS = [kind for kind in ReasonKind if kind is not ReasonKind.NONE]
ALL = {f"state {state}": one for state, one in OF_STATE.items()} | {kind.value: one for kind, one in OF_KIND.items()}
PRODUCT = list((HOME / "model_release").rglob("*.py"))


def anchors() -> set[str]:
    """Return the anchors of the headings, as GitHub and Azure DevOps build them."""
    headings = re.findall(r"^#+ (.*)$", (HOME / "docs/operations.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_state_and_each_kind_of_reason_has_advice() -> None:
    assert set(OF_STATE) == set(State)
    assert set(OF_KIND) == set(KINDS)


@pytest.mark.parametrize("one", ALL.values(), ids=ALL)
def test_advice_has_two_sentences_and_a_section_that_exists(one: Advice) -> None:
    page, _, anchor = one.address().partition("#")

    assert one.sentence.endswith(".")
    assert one.do.endswith(".")
    assert page == "docs/operations.md"
    assert anchor in anchors()


def test_each_kind_is_given_to_a_reason_somewhere() -> None:
    used = {
        node.attr
        for path in PRODUCT
        if path.name != "advice.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ReasonKind"
    }

    assert {kind.name for kind in KINDS} - used == set()


@pytest.mark.parametrize("error", [AzureDevOpsError, TemporaryError, RefusedError, UnknownOutcomeError])
def test_an_error_has_a_kind_even_if_none_is_given(error: type[AzureDevOpsError]) -> None:
    assert error("a problem", "a fix").reason == Reason(error.usual, "a problem; a fix")
    assert error("a problem", kind=ReasonKind.NO_TOKEN).reason.kind is ReasonKind.NO_TOKEN
    assert error.usual in KINDS


def test_what_nothing_heals_needs_a_person() -> None:
    assert {State.REFUSED, State.ABANDONED} == NEEDS_PERSON


@pytest.mark.parametrize("state", State)
def test_a_record_without_a_known_kind_has_the_advice_of_its_state(state: State) -> None:
    assert ReasonKind("a kind of a later version") is ReasonKind.NONE
    assert advice(state, ReasonKind.NONE) == OF_STATE[state]


def test_a_claim_that_is_attempted_has_no_advice_about_the_attempt_before() -> None:
    assert advice(State.STARTING, ReasonKind.REFUSED) == OF_STATE[State.STARTING]


def test_an_abandoned_version_says_what_the_last_failure_was() -> None:
    over, last = OF_STATE[State.ABANDONED], OF_KIND[ReasonKind.SIGN_IN_REFUSED]

    assert advice(State.ABANDONED, ReasonKind.SIGN_IN_REFUSED) == over._replace(
        sentence=f"{over.sentence} {last.sentence}", foreign=True
    )


@pytest.mark.parametrize("kind", [ReasonKind.SIGN_IN_REFUSED, ReasonKind.TARGET_MISFIT])
def test_the_kind_of_an_error_is_recorded_and_shown(kind: ReasonKind) -> None:
    process = Process()
    process.azure_devops.creating = [RefusedError("no", kind=kind)]

    (refused,) = process.start_release.registered(event_body())

    recorded = process.claims.recorded(WORKSPACE, "churn", "20")["20"]
    (claim,) = recorded.claims
    (read,) = process.history.page(HistoryQuery()).entries
    assert (claim.reason_kind, read.reason_kind) == (kind, kind)
    shown = entry(read)
    assert shown == entry(refused)
    assert (shown["reason_kind"], shown["advice"]["section"]) == (kind.value, OF_KIND[kind].address())
    assert shown["advice"]["needs_person"]


def test_an_ignored_version_keeps_the_kind_of_its_reason() -> None:
    process = Process()
    process.start_release.registered(event_body(model="fraud"))

    ignored = process.claims.recorded(WORKSPACE, "fraud", "20")["20"].ignored

    assert ignored == Reason(ReasonKind.MODEL_NOT_NAMED, "no route names the model fraud")

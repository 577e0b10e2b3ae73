"""Each state says what it means and what to do, and names a section of the operations page."""

import pytest

from model_release.app import HOME
from model_release.domain.claims import State
from model_release.web.advice import ADVICE

HEADINGS = [
    line.lstrip("# ") for line in (HOME / "docs/operations.md").read_text().splitlines() if line.startswith("#")
]


@pytest.mark.parametrize("state", State)
def test_each_state_has_a_sentence_what_to_do_and_a_section_of_the_operations_page(state: State) -> None:
    advice = ADVICE[state]

    assert advice.sentence.endswith(".")
    assert advice.do.endswith(".")
    assert advice.section in HEADINGS


def test_what_nothing_heals_needs_a_person() -> None:
    assert {state for state, advice in ADVICE.items() if advice.needs_person} == {State.REFUSED, State.ABANDONED}

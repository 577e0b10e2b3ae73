"""The words of this project: retired ones do not come back, and the glossary has each of its own."""

import re
import subprocess
from functools import cache

import pytest

from model_release.app import HOME

RETIRED = {
    "show, report, log or print": r"\b(tells?|told|telling)\b",
    "idempotency key or restart": r"\bwish(es|ed)?\b",
    "sibling or next to": r"\bbeside\b",
    "pending": r"\b(owed|settled?|unfinished(?!_releases))\b",
    "leased by another worker": r"in other hands|\bholder\b",
    "throttled": r"\b(left|leaves?) (it |them |Azure DevOps )?alone\b|\bheld_until\b",
    "unavailable": r"\baway\b",
    "is": r"\b(stands?|stood)\b",
    "fix or break": r"\b(mend(s|ed|ing)?|spoil(s|t|ed)?)\b",
    "provides the settings for": r"\bspeaks? for\b",
    "pass": r"\bhand(s|ed|ing)?[ _]over\b",
    "now": r"\bby now\b",
    "manually": r"\bon[ _]purpose\b",
    "model version detail": r"\b(story|stories)\b",
    "layout": r"\bhouse\b",
    "test environment": r"\bworld\b",
    "match": r"\b(judges?|verdicts?|why_none)\b|\btakes (it|this version|the version|versions|such)\b",
    "a person, anyone": r"\b(whoever|nought)\b",
    "the effect": r"\bthe deed\b|\bof before\b|\bwhat (becomes|became) of\b|\bbecame of\b|\bcame to\b",
    "is not": r"(?<!there )\bis no\b(?! longer)",
    "history entry or state": r"\bdecisions?\b|\bDecision\b",
    "the name of the store": r"\bledgers?\b",
    "plan, Created, AttemptResult": r"\b(ReleaseStart|RunStart|StartedRelease|may_land|join_line|next_try|as_told)\b",
    "TemporaryError, RefusedError, UnknownOutcomeError": r"(?-i:\b(Busy|StartError|ClaimHeld)\b)",
}
FILES = (
    "*.py",
    "*.md",
    "*.yaml",
    "*.yml",
    "*.json",
    "*.html",
    "*.bicep",
    "*.sh",
    "*.ps1",
    "*.http",
    "Makefile",
    "*.toml",
)
# Recorded answers, published types and quotations of others are not ours to word.
OTHERS = re.compile(
    r"tests/(published_types|azure_devops_types)\.json|tests/test_words\.py|tests/(events|local/recorded)/.*"
)
ALLOWED = re.compile(r"^## Decision$|^@pytest|noqa", re.MULTILINE)


@cache
def ours() -> list[tuple[str, int, str]]:
    """Return the lines of our files, each with the name of the file and its number."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *FILES], cwd=HOME, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if not OTHERS.fullmatch(name) and (HOME / name).exists()]
    return [
        (name, number, line) for name in names for number, line in enumerate((HOME / name).read_text().splitlines(), 1)
    ]


@pytest.mark.parametrize("instead", RETIRED)
def test_a_retired_word_is_not_used(instead: str) -> None:
    word = re.compile(RETIRED[instead], re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, number, line in ours()
        if word.search(line) and not ALLOWED.search(line)
    ]

    assert found == [], f"write: {instead}"

"""The bench measures, and reports which limits hold."""

import re

from bench.figures import Figure, Section, p95, ratio
from bench.load import Options
from bench.speed import measure, report
from tests.environment import FULL

TINY = Options(rounds=2, burst=4, reads=1, delays=(0,), claims=(2, 4))


@FULL
def test_a_tiny_bench_measures_the_app_with_few_and_with_many_claims() -> None:
    sections = list(measure(TINY, ["growth"]))

    assert [section.title.partition(":")[0] for section in sections] == ["Growth"] * 5
    assert all(figure.value > 0 for section in sections for figure in section.figures)
    assert "| sweep, 4 finished claims against 2: p50 |" in report(sections, "pytest", 1, 1)


def test_the_report_shows_each_limit_and_whether_it_holds() -> None:
    figures = [
        ratio("fast", 110, 100, "ms", at_most=1.1),
        ratio("slow", 112, 100, "ms", at_most=1.1),
        ratio("many", 12, 10, "/s", at_least=1.2),
        ratio("few", 11, 10, "/s", at_least=1.2),
        Figure("expensive", 9.1, "ms", at_most=9),
        Figure("without a limit", 3, "ms"),
    ]

    text = report([Section("some", figures)], "command", 1, 1)

    assert re.findall(r"^\| ([a-z ]+) \|.*\| (yes|\*\*no\*\*|) \|$", text, re.MULTILINE) == [
        ("fast", "yes"),
        ("slow", "**no**"),
        ("many", "yes"),
        ("few", "**no**"),
        ("expensive", "**no**"),
        ("without a limit", ""),
    ]
    assert "| slow | 1.12 | 112 ms : 100 ms | at most 1.1 | **no** |" in text


def test_the_report_begins_with_a_sentence_for_each_thing_that_was_measured() -> None:
    warm = ratio("one event, Azure DevOps at 150 ms: p50 against the bare POST", 165, 150, "ms", at_most=1.12)
    cold = ratio("process start to first POST against the straightforward function, 3.13", 0.6, 0.4, "s", at_most=1.6)

    text = report([Section("some", [cold, warm])], "command", 1, 1)

    assert text.startswith(
        "# Speed\n\n"
        "Warm: an event takes 1.10 times as long as the one request to Azure DevOps that it needs "
        "(165 ms : 150 ms).\n\n"
        "Cold: a new process takes 1.50 times as long as the straightforward function to its first POST "
        "(0.60 s : 0.40 s).\n\n"
        "## Limits\n"
    )


def test_the_p95_is_in_milliseconds() -> None:
    assert p95([n / 1000 for n in range(101)]) == 95

"""JSON is read and written as Newtonsoft.Json does it."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from local.newtonsoft import newtonsoft_read, newtonsoft_write


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024-01-01T00:00:00+02:00", "2023-12-31T22:00:00+00:00"),
        ("2024-01-01T00:00:00.50-0230", "2024-01-01T02:30:00.5+00:00"),
        ("2024-01-01T00:00:00+02", "2023-12-31T22:00:00+00:00"),
        ("2024-01-01T00:00:00.100000Z", "2024-01-01T00:00:00.1Z"),
        ("2024-01-01T00:00:00.0000000Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.1000", "2024-01-01T00:00:00.1"),
        ("/Date(1700000000000)/", "2023-11-14T22:13:20Z"),
        ("/Date(1700000000120+0200)/", "2023-11-14T22:13:20.12+00:00"),
        ("/Date(-1)/", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_string_that_is_a_time_is_rewritten(text: str, read: str) -> None:
    assert newtonsoft_read(f'{{"a":["{text}"]}}') == {"a": [read]}


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.1234567Z",
        "2024-01-01T00:00:00.123456789Z",
        "2024-02-30T00:00:00+02:00",
        "0001-01-01T00:00:00+02:00",
        "2024-01-01T00:00:00+02:00 ",
        "٢٠٢٤-01-01T00:00:00+02:00",
        "2024-01-01 00:00:00+02:00",
        "/Date(99999999999999999)/",
        "/Date(x)/",
        "1.10",
        "churn:20",
    ],
)
def test_other_strings_are_unchanged(text: str) -> None:
    assert newtonsoft_read(f'"{text}"') == text


def test_a_time_with_an_offset_becomes_a_local_time_of_the_host() -> None:
    new_york = ZoneInfo("America/New_York")

    assert newtonsoft_read('"2024-01-01T00:00:00+02:00"', new_york) == "2023-12-31T17:00:00-05:00"
    assert newtonsoft_read('"2024-01-01T00:00:00Z"', new_york) == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 'it\\'s \"b\"'}", {"a": 'it\'s "b"'}),
        ('{a_1: 1, /* b: 2, */ "c": "/* no comment */", // the end\n}', {"a_1": 1, "c": "/* no comment */"}),
        ('[1, "a,]",]', [1, "a,]"]),
        ('{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        ("[NaN, Infinity, -Infinity, 1e400, -1e400]", ["NaN", "Infinity", "-Infinity", "Infinity", "-Infinity"]),
        ('["a\\ud800b", "\\ud83d\\ude00"]', ["a\ufffdb", "😀"]),
        ('"a\nb"', "a\nb"),
    ],
)
def test_what_json_does_not_allow_is_read(text: str, value: Any) -> None:
    assert newtonsoft_read(text) == value


@pytest.mark.parametrize("text", ["", "hello", "[1", "[1] x", "'a", '{"a" 1}', "{'a': 1", "[1] /*"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        newtonsoft_read(text)


def test_more_than_64_levels_are_refused() -> None:
    assert newtonsoft_read("[" * 64 + "]" * 64)
    for levels in (65, 1000, 100_000):
        with pytest.raises(ValueError, match=r"levels|nested"):
            newtonsoft_read("[" * levels + "]" * levels)


def test_line_ends_of_other_scripts_are_escaped_and_other_letters_are_not() -> None:
    assert newtonsoft_write({"a": "ö\u2028\x85\u2029😀"}) == r'{"a":"ö\u2028\u0085\u2029😀"}'
    assert newtonsoft_write({"a": [1.10]}, indented=True) == '{\n  "a": [\n    1.1\n  ]\n}'

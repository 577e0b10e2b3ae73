"""The changes of a module, and the list of those that change nothing that matters."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import HOME, MODULES, listed
from tests.mutants.changes import changes, names

SOURCE = '''"""A docstring."""
LEAST: int = 1


def answer(number: int, *others: "text") -> str:
    """Another docstring."""
    if number > LEAST and not others:
        others[0].count = number + 2
    return call(number, "text")
'''


def test_each_change_is_one_change(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)

    found = [(change.line, change.function, change.before, change.after) for change in changes(path)]

    condition, sent, returned = (
        "if number > LEAST and (not others):",
        "others[0].count = number + 2",
        "return call(number, 'text')",
    )
    assert sorted(found) == sorted(
        [
            (2, "", "LEAST: int = 1", "LEAST: int = 2"),
            *(
                (7, "answer", condition, after)
                for after in (
                    "if not (number > LEAST and (not others)):",
                    "if number > LEAST or not others:",
                    "if not others:",
                    "if number > LEAST:",
                    "if number <= LEAST and (not others):",
                    "if number >= LEAST and (not others):",
                    "if number > LEAST and others:",
                )
            ),
            *((8, "answer", sent, after) for after in ("pass", sent.replace("0", "1"), sent.replace("+", "-"))),
            (8, "answer", sent, sent.replace("2", "3")),
            (9, "answer", returned, "return None"),
            (9, "answer", returned, "return call('text', number)"),
            (9, "answer", returned, "return call(number, 'text~')"),
        ]
    )


def test_a_change_is_compiled(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("LEAST = 1\n")
    (change,) = changes(path)
    module: dict[str, int] = {}

    exec(change.code, module)

    assert module["LEAST"] == 2


@pytest.mark.parametrize("module", sorted({module for module, *_ in listed()}))
def test_what_is_listed_is_a_change_of_the_code_as_it_is_now(module: str) -> None:
    known = names(HOME / module)

    stale = [change for listed_module, *change in listed() if listed_module == module and tuple(change) not in known]

    assert stale == [], "correct or remove these entries of tests/mutants/equivalent.toml"


def test_each_listed_change_has_a_reason() -> None:
    assert all(listed().values())
    assert {module for module, *_ in listed()} <= {str(path.relative_to(HOME)) for path in MODULES}

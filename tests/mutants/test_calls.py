"""Which functions a test calls."""

from pathlib import Path

from tests.mutants.calls import CALLED, Calls, recording

SOURCE = '''
class Claims:
    def insert(self):
        """Keep this docstring."""
        return self.row

    @property
    def row(self):
        return 1

    def delete(self):
        pass
'''


def test_a_called_function_is_noted_for_the_test_that_calls_it(tmp_path: Path) -> None:
    path = tmp_path / "claims.py"
    path.write_text(SOURCE)
    module: dict[str, type] = {}
    exec(recording(path), module)
    calls = Calls()
    CALLED.clear()

    assert module["Claims"]().insert() == 1
    calls.note("one test")
    assert module["Claims"]().delete() is None
    calls.note("another test")

    assert calls.by_test == {
        "": [],
        "one test": [f"{path}:Claims.insert", f"{path}:Claims.row"],
        "another test": [f"{path}:Claims.delete"],
    }
    assert module["Claims"].insert.__doc__ == "Keep this docstring."

"""What azd and Core Tools pack: `.funcignore` decides alone."""

import tomllib

import pathspec
import pytest

from model_release.app import HOME

PATTERNS = (HOME / ".funcignore").read_text().splitlines()
LEFT_OUT = [
    ".venv-3.13/bin/python", "venv/bin/python", "env/lib/a.py", "w-infra_env/lib/a.py", ".azurite/a", ".kusto/a",
    ".git/config", ".azure/prod/.env", "model_release.egg-info/PKG-INFO", "build/lib/a.py",
    "__pycache__/a.pyc", "model_release/__pycache__/a.pyc",
    "bench/speed.py", "docs/deploy.md", "infra/check.py", "infra/main.json", "local/demo.py", "tests/conftest.py",
    "model_release/cli/check/command.py", "local.settings.json", "local.settings.sample.json",
    "README.md", "Makefile", "azure.yaml", "pyproject.toml", "requirements.in", "requirements-dev.txt",
]  # fmt: skip
PACKED = [
    "function_app.py", "host.json", "requirements.txt", "release_map.yaml", "release_map.schema.json",
    "triggers/http.py", "model_release/app.py", "model_release/web/pages/base.html",
    "model_release/settings/__init__.py",
]  # fmt: skip


# For Core Tools `*` is one or more characters, for azd and git none or more.
@pytest.mark.parametrize("star", ["*", "?*"], ids=["azd", "func"])
def test_the_package_has_the_app_and_nothing_else(star: str) -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines(line.replace("*", star) for line in PATTERNS)

    assert [name for name in LEFT_OUT if not ignored.match_file(name)] == []
    assert [name for name in PACKED if ignored.match_file(name)] == []


@pytest.mark.parametrize("star", ["*", "?*"], ids=["azd", "func"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_leaves_something_out_in_both_readings(pattern: str, star: str) -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines([pattern.replace("*", star)])

    assert [name for name in LEFT_OUT if ignored.match_file(name)] != []


@pytest.mark.parametrize("folder", ["venv/a", "env/a", "prod_env/a", ".venv/a"])
def test_git_ignores_virtual_environments(folder: str) -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines((HOME / ".gitignore").read_text().splitlines())

    assert ignored.match_file(folder)


def test_pip_finds_no_package_to_install() -> None:
    # `azd restore` runs `pip install .`, which refuses several packages at the top.
    assert tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"] == {"packages": []}

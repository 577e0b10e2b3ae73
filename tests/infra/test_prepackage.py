"""The package that is deployed, made in a copy of the project."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pathspec
import pytest
import yaml

from infra.hooks.libraries import PackageError, installed_uv
from infra.hooks.postdeploy import FUNCTIONS
from infra.hooks.prepackage import ARCHIVE, LIBRARIES, PACKAGE, app_python, archive, deployed_files
from model_release.app import HOME
from tests.functions_runtime import FunctionsRuntime
from tests.infra.test_locks import canonical, locked

THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
# This Python is not on the PATH of the tests.
ABSENT = "3.12" if THIS == "3.14" else "3.14"


@pytest.fixture
def installs(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("installs libraries from the index: `make test-package` runs it")


@pytest.fixture(scope="module")
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=HOME, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if (HOME / name).exists()]
    uv = installed_uv(HOME) if request.config.getoption("--full") else None

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("project")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HOME / name, folder / name)
        if uv:
            own = folder / uv.relative_to(HOME)
            own.parent.mkdir(parents=True)
            own.symlink_to(uv)
            shutil.copy(HOME / ".venv-uv/installed.txt", folder / ".venv-uv")
        run_in_azure(folder, THIS)
        return folder

    return copy


@pytest.fixture
def project(copied: Callable[[], Path]) -> Path:
    return copied()


def run_in_azure(project: Path, python: str) -> None:
    edit(project / "infra/main.bicep", r"(param appPythonVersion string = )'[\d.]+'", rf"\1'{python}'")


def edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count, f"{path} has no {pattern}"
    path.write_text(text)


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.hooks.prepackage", *arguments]
    environment = os.environ | {"PATH": "/nowhere", "APP_PYTHON_VERSION": ""}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def refusal(project: Path, *arguments: str) -> str:
    done = make(project, *arguments)
    assert done.returncode == 1
    assert not (project / PACKAGE.relative_to(HOME)).exists()
    assert not (project / ARCHIVE.relative_to(HOME)).exists()
    return done.stderr


def packed(project: Path) -> Path:
    done = make(project)
    assert done.returncode == 0, done.stderr
    return project / ARCHIVE.relative_to(HOME)


def test_azd_deploys_the_folder_that_the_hook_makes_and_builds_nothing_in_azure() -> None:
    service = yaml.safe_load((HOME / "azure.yaml").read_text())["services"]["model-release"]
    hook = service["hooks"]["prepackage"]

    assert HOME / service["project"] / service["dist"] == PACKAGE
    assert service["remoteBuild"] is False
    assert hook["posix"]["run"].split()[1:] == hook["windows"]["run"].split()[1:] == ["-m", "infra.hooks.prepackage"]


def test_the_deployed_files_are_those_that_funcignore_leaves(project: Path) -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines((project / ".funcignore").read_text().splitlines())
    for name in (
        ".git/config", "venv/a.py", "prod_env/lib/a.py", "triggers/__pycache__/a.pyc", "model_release/a.md",
        "build/a.py", "local.settings.json", "local.settings.prod.json", "model_release/.hidden",
        "model_release/builds/a.py",
    ):  # fmt: skip
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")

    found = deployed_files(project)

    names = [path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()]
    assert found == sorted(name for name in names if not ignored.match_file(name))
    assert {"function_app.py", "release_map.yaml", "model_release/builds/a.py"} < set(found) < set(names)


@pytest.mark.parametrize("pattern", ["!docs/", "/docs", "**/docs", "doc[s]"])
def test_a_pattern_that_is_read_in_another_way_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / ".funcignore").write_text(f"tests/\n{pattern}\n")

    with pytest.raises(PackageError, match=re.escape(f"The pattern {pattern} of .funcignore is not supported")):
        deployed_files(tmp_path)


def test_an_archive_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    digests = []
    for seed in range(2):
        names = [f"{folder}{letter}" for folder in ("", "a/", "a/b-c/", "A/") for letter in "zyx"]
        random.Random(seed).shuffle(names)
        for name in names:
            path = tmp_path / str(seed) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            path.chmod((0o600, 0o755)[seed])
            os.utime(path, (seed * 1e9, seed * 1e9))
        digests.append(archive(tmp_path / str(seed), tmp_path / f"{seed}.zip"))

    assert digests[0] == digests[1]


def test_a_package_for_another_python_than_that_of_the_app_is_refused(project: Path) -> None:
    run_in_azure(project, "3.13")

    assert refusal(project, "--python", "3.11") == (
        "The app runs Python 3.13, so a package for Python 3.11 has no functions there. Leave out --python, or run "
        "`azd env set APP_PYTHON_VERSION 3.11` and `azd up`.\n"
    )
    assert app_python(project, "3.13", {}) == "3.13"
    assert app_python(project, None, {"APP_PYTHON_VERSION": "3.14"}) == "3.14"


def test_a_library_that_is_not_locked_is_refused(project: Path) -> None:
    edit(project / "requirements.in", r"(?m)^requests==.*$", "requests==1.0")

    assert refusal(project) == "requirements.in has requests==1.0, requirements.txt does not; run `make lock`.\n"


@pytest.mark.usefixtures("installs")
def test_the_package_has_what_is_deployed_and_locked_with_bytecode_and_is_twice_the_same(
    copied: Callable[[], Path],
) -> None:
    first, second = copied(), copied()
    for number, path in enumerate(second.rglob("*.py")):
        os.utime(path, (number * 1e6, number * 1e6))

    package = packed(first)

    with zipfile.ZipFile(package) as content:
        names = set(content.namelist())
        records = {name: content.read(name).decode() for name in names if name.endswith(".dist-info/RECORD")}
        headers = {content.read(name)[4:8] for name in names if name.endswith(".pyc")}

    assert package.read_bytes() == packed(second).read_bytes()
    libraries = LIBRARIES.as_posix()
    installed = {f"{libraries}/{line.rpartition(',sha256=')[0] or line.rstrip(',')}" for text in records.values()
                 for line in text.splitlines()}  # fmt: skip
    sources = set(deployed_files(first)) | installed
    tag = f"cpython-{THIS.replace('.', '')}"
    bytecode = {re.sub(r"([^/]+)\.py$", rf"__pycache__/\1.{tag}.pyc", name) for name in sources if name.endswith(".py")}
    assert names == sources | bytecode
    # Bit 0: based on a hash. Bit 1, which is not set: compared with the source.
    assert headers == {(1).to_bytes(4, "little")}
    assert {tuple(name.split("/")[-2].removesuffix(".dist-info").rsplit("-", 1)) for name in records} == {
        (canonical(one.name).replace("-", "_"), str(one.specifier)[2:])
        for one in locked("requirements")
        if not one.marker or one.marker.evaluate()
    }


@pytest.mark.usefixtures("installs")
def test_without_the_python_of_the_app_the_package_has_no_bytecode_and_the_output_says_so(project: Path) -> None:
    run_in_azure(project, ABSENT)

    done = make(project)

    assert done.returncode == 0, done.stderr
    assert f"bytecode  none, so each start takes longer. Python {ABSENT} was not found" in done.stdout
    with zipfile.ZipFile(project / ARCHIVE.relative_to(HOME)) as content:
        assert [name for name in content.namelist() if name.endswith(".pyc")] == []
        assert [name for name in content.namelist() if f".cpython-{ABSENT.replace('.', '')}-" in name] != []


@pytest.mark.usefixtures("installs")
@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"(?<=sha256:)\w{8}", "00000000", "The index has another file"),
        (r"( \\\n {4}--hash=\S+)+", "", "Do not edit requirements.txt"),
        ("^", f"docopt==0.6.2 --hash=sha256:{'0' * 64}\n", "Each library needs a wheel for Linux x64"),
    ],
    ids=["another hash", "no hash", "no wheel"],
)
def test_a_library_that_is_not_the_locked_wheel_is_refused(
    project: Path, pattern: str, replacement: str, message: str
) -> None:
    lock = project / "requirements.txt"
    head, separator, rest = lock.read_text().partition("\nurllib3==2.8.0")
    block, last, tail = rest.partition("    # via")
    lock.write_text(f"{head}\n{re.sub(pattern, replacement, f'urllib3==2.8.0{block}')}{last}{tail}")
    assert separator

    found = refusal(project)

    assert found.startswith("The libraries cannot be installed. uv reports: ")
    assert message in found


@pytest.mark.usefixtures("installs")
def test_microsofts_own_worker_lists_every_function_of_the_package(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("azure_functions_runtime", reason="the worker is a library from Python 3.13 on")
    with zipfile.ZipFile(packed(project)) as content:
        content.extractall(tmp_path)
    values = json.loads((HOME / "local.settings.sample.json").read_text())["Values"]

    app = FunctionsRuntime(tmp_path, {**values, "PYTHONPATH": str(tmp_path / LIBRARIES)})

    assert app.functions.keys() == FUNCTIONS

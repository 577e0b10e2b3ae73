"""The packages whose starts are measured: made as for Azure, unpacked read-only, and run by a bare Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.load import APPS
from infra.hooks.prepackage import LIBRARIES, archive, build, compile_all, interpreter
from local.program import HOME, Program

HOST = "host"
_CGROUP = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds


@dataclass(frozen=True)
class Packages:
    """The packages of all apps for one version of Python, in folders of that name, and the host that serves them."""

    python: str
    interpreter: str
    folder: Path

    def environment(self, app: str) -> dict[str, str]:
        """Return the variables with which Python imports from the package and from nowhere else."""
        package = self.folder / app
        path = [package, package / LIBRARIES, self.folder / HOST]
        return {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPYCACHEPREFIX": "",
        }

    def serve(self, app: str, environment: Mapping[str, str], prefix: Sequence[str]) -> Program:
        """Serve an app of the package with the local Functions host, behind a command that limits the CPU."""
        arguments = ["-m", "local.functions_host", "--port", "0", "--no-timers", "--app-dir", str(self.folder / app)]
        python = [*prefix, self.interpreter]
        return Program(arguments, {**environment, **self.environment(app)}, python=python, folder=self.folder / HOST)


def packages(place: Path, python: str, *, bytecode: bool) -> Packages | None:
    """Make and unpack the packages of all apps; return nothing if this machine does not have that Python."""
    path = interpreter(HOME, python)
    if not path:
        return None
    made, folder = place / "made", place / "unpacked"
    for app, source in APPS.items():
        target = made / app
        target.mkdir(parents=True)
        if source == HOME:
            build(HOME, target, python)
        else:
            shutil.copy(source / "function_app.py", target)
            shutil.copytree(made / "app" / LIBRARIES, target / LIBRARIES)
            compile_all(path, target)
        archive(target, made / f"{app}.zip")
        with zipfile.ZipFile(made / f"{app}.zip") as content:
            names = [name for name in content.namelist() if bytecode or not name.endswith(".pyc")]
            content.extractall(folder / app, names)
    shutil.copytree(HOME / "local", folder / HOST / "local", ignore=shutil.ignore_patterns("__pycache__"))
    compile_all(path, folder / HOST)
    shutil.rmtree(made)
    for one in folder.rglob("*"):
        one.chmod(0o555 if one.is_dir() else 0o444)
    # A virtual environment has packages of its own.
    code = "import sys; print(sys._base_executable)"
    bare = subprocess.run([path, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return Packages(python, bare, folder)


def one_cpu() -> list[str]:
    """Return the start of a command that runs on the last processor of this machine only."""
    return ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]


@contextmanager
def quarter_cpu() -> Iterator[list[str] | None]:
    """Give the start of a command that gets a quarter of one processor, by a cgroup; nothing without that right."""
    old = _CGROUP / "cpu"
    group = (old if old.is_dir() else _CGROUP) / "model-release-bench"
    try:
        group.mkdir(exist_ok=True)
        if old.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(_PERIOD // 4))
        else:
            (group / "cpu.max").write_text(f"{_PERIOD // 4} {_PERIOD}")
    except OSError:
        yield None
        return
    try:
        join = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
        yield [*one_cpu(), "sh", "-c", join, "sh"]
    finally:
        with suppress(OSError):
            group.rmdir()

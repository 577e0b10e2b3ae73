"""Install the libraries of requirements.txt for the app: for Linux x64 and its Python, from any system and Python.

uv does that; pip evaluates markers for the Python that it runs on. uv is installed in .venv-uv, locked as well.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# A link would give the files of uv's cache another time.
_INSTALL = shlex.split(
    "pip install --quiet --no-progress --python-platform x86_64-manylinux_2_28 --only-binary :all: --no-deps"
    " --require-hashes --link-mode copy --no-compile-bytecode"
)
_DISTRIBUTION = re.compile(r"^([a-z0-9._-]+)(?:\[.*?\])?==([^\s;\\]+)", re.MULTILINE | re.IGNORECASE)
_SCRIPTS = re.compile(r"^(\.\./)*(bin|Scripts)/.*\n", re.MULTILINE)


class PackageError(Exception):
    """No package was made: the problem, and what to do."""


def install(home: Path, target: Path, python: str) -> None:
    """Install the libraries in a folder, exactly as locked; raises PackageError."""
    _check_lock(home)
    where = ["--python", sys.executable, "--python-version", python, "--target", str(target)]
    done = _call([str(installed_uv(home)), *_INSTALL, *where, "-r", str(home / "requirements.txt")])
    if done.returncode:
        raise PackageError(_refusal(_text(done), python))
    # The commands of libraries name the Python of this machine.
    for name in ("bin", "Scripts"):
        shutil.rmtree(target / name, ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for record in target.glob("*.dist-info/RECORD"):
        record.write_text(_SCRIPTS.sub("", record.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    _check_python(target, python)


def run(command: Sequence[str], problem: str) -> None:
    """Run a command; raises PackageError with the problem and the end of the output if it fails."""
    done = _call(command)
    if done.returncode:
        raise PackageError(f"{problem} The last output: {_text(done)[-400:]}")


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _text(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def _check_lock(home: Path) -> None:
    direct = _DISTRIBUTION.findall((home / "requirements.in").read_text(encoding="utf-8"))
    locked = _DISTRIBUTION.findall((home / "requirements.txt").read_text(encoding="utf-8"))
    if missing := [
        f"{name}=={version}" for name, version in direct if (name.lower().replace("_", "-"), version) not in locked
    ]:
        raise PackageError(f"requirements.in has {', '.join(missing)}, requirements.txt does not; run `make lock`.")


def _check_python(libraries: Path, python: str) -> None:
    tag = f".cpython-{python.replace('.', '')}-x86_64-linux-gnu.so"
    for path in libraries.rglob("*.*"):
        if path.suffix in (".pyd", ".dylib") or (".cpython-" in path.name and not path.name.endswith(tag)):
            raise PackageError(f"{path.name} is not for Python {python} on Linux x64; run `uv cache clean`, then this.")


def _refusal(message: str, python: str) -> str:
    advice = "Correct that, and run this again. For a mirror of PyPI, set UV_DEFAULT_INDEX to its address."
    if "Hash mismatch" in message:
        advice = (
            "The index has another file than the one that was locked and tested. Find out why before you trust it; "
            "`make lock ARGS=--upgrade` locks other versions."
        )
    elif "no usable wheels" in message or "no wheels" in message:
        advice = (
            f"Each library needs a wheel for Linux x64 and Python {python}. In requirements.in choose a version that "
            "has one, and run `make lock`."
        )
    elif "must have a hash" in message:
        advice = "Do not edit requirements.txt: edit requirements.in, and run `make lock`."
    return f"The libraries cannot be installed. uv reports: {message}\n{advice}"


def installed_uv(home: Path) -> Path:
    """Return the locked version of uv, installed on first use; raises PackageError."""
    folder, windows = home / ".venv-uv", os.name == "nt"
    uv = folder / ("Scripts/uv.exe" if windows else "bin/uv")
    lock = (home / "requirements-tools.txt").read_text(encoding="utf-8")
    block = re.search(r"^uv==.*\n(?: +--hash.*\n)+", lock, re.MULTILINE)
    if not block:
        raise PackageError("requirements-tools.txt has no uv; add it to requirements-tools.in, and run `make lock`.")
    wanted, installed = folder / "wanted.txt", folder / "installed.txt"
    if uv.exists() and installed.exists() and installed.read_text(encoding="utf-8") == block[0]:
        return uv
    run([sys.executable, "-m", "venv", str(folder)], "No virtual environment; on Debian, install python3-venv.")
    installed.unlink(missing_ok=True)
    wanted.write_text(block[0], encoding="utf-8")
    pip = [str(uv.with_name("python.exe" if windows else "python")), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--require-hashes", "-r", str(wanted)]
    run(pip, "uv cannot be installed; check that pip reaches its index.")
    wanted.replace(installed)
    return uv

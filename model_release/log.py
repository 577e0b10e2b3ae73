"""Log lines for monitoring: the message is one JSON object.

Azure's Python worker sends only the message to the host and drops the other fields of a log record.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from model_release.domain.history import HistoryEntry
from model_release.errors import ClaimLeasedError, Fault
from model_release.text import safe


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """Writes each message, with its traceback, as text without credentials that cannot control what shows it."""

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log a message; all other methods call this one."""
        error = options.pop("exc_info", None)
        error = sys.exception() if error is True else error
        if self.isEnabledFor(level):
            text = str(msg) % args if args else str(msg)
            stack = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
            self.logger.log(level, "%s", safe("\n".join(filter(None, [text, stack]))), **options)


class HiddenTextError(Exception):
    """An exception whose text had to be changed to be shown; this is its class and its safe text."""


@contextmanager
def safe_failure() -> Iterator[None]:
    """Let an exception pass with a text without credentials: the host logs what a function raises."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if safe(text) == text:
            raise
        raise HiddenTextError(safe(text)).with_traceback(error.__traceback__) from None


def get_logger(name: str) -> SafeLogger:
    """Return the logger of a module; the only way to one."""
    return SafeLogger(logging.getLogger(name), None)


def only_warnings(*libraries: str) -> None:
    """Drop what libraries log below warnings."""
    for library in libraries:
        logging.getLogger(library).setLevel(logging.WARNING)


def no_lines_of_libraries() -> None:
    """Write no log line to standard error, for commands that print what went wrong themselves."""
    logging.getLogger().addHandler(logging.NullHandler())


logger = get_logger(__name__)
Log = Callable[[HistoryEntry], HistoryEntry]


def log_entry(entry: HistoryEntry) -> HistoryEntry:
    """Log one history entry and return it."""
    _log(entry_line(entry))
    return entry


def log_catch_up(workspace: str, *, listed: int, started: int, unannounced: int, complete: bool) -> None:
    """Log one catch-up run of a workspace.

    It has the versions listed, the releases started, the versions without an event, and whether nothing was left out.
    """
    counts = {"listed": listed, "started": started, "unannounced": unannounced}
    _log({"event": "catch_up", "workspace": workspace, **counts, "complete": complete})


def log_sweep(pending: int, oldest_seconds: int | None) -> None:
    """Log the pending claims after a sweep, and the age of the oldest one."""
    _log({"event": "sweep", "pending": pending, "oldest_pending_seconds": oldest_seconds})


def log_cannot_start(faults: Sequence[Fault]) -> None:
    """Log every fault of the settings and the release map."""
    _log({"event": "cannot_start", "faults": [str(fault) for fault in faults]}, logging.ERROR)


def all_of(failures: Sequence[Exception]) -> Exception:
    """Log several failures, and return the one that matters most, with notes about the others.

    A lease of another worker matters least.
    """
    first, *others = sorted(failures, key=lambda failure: isinstance(failure, ClaimLeasedError))
    for other in others:
        first.add_note(f"another target failed too: {type(other).__name__}: {other}")
    for failure in failures if others else ():
        if not isinstance(failure, ClaimLeasedError):
            logger.error("one of several targets failed", exc_info=failure)
    return first


def entry_line(entry: HistoryEntry) -> dict[str, Any]:
    """Build the line of a history entry, the most wanted values first; it has no values of tags (pure)."""
    model, version = entry.model_version
    return {
        "event": "history_entry",
        "state": entry.state.value,
        "model": model,
        "version": version,
        "target": entry.target,
        "definition_id": entry.definition_id or None,
        "reason": entry.log_reason or entry.reason,
        "route": entry.route,
        "release_id": entry.release_id or None,
        "attempt": entry.attempt,
        "milliseconds": entry.milliseconds,
        "workspace": entry.workspace,
        "event_id": entry.event_id,
    }


def _log(line: dict[str, Any], level: int = logging.INFO) -> None:
    logger.log(level, "%s", json.dumps(line, ensure_ascii=False))

"""What monitoring reads: log lines whose message is one JSON object.

Azure's Python worker hands the message to the host and drops whatever else a record carries.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from model_release.domain.claims import Decision

logger = logging.getLogger(__name__)


def log_decision(decision: Decision) -> Decision:
    """Tell of one decision; `release_id` is null where no release is known."""
    _log(decision_line(decision))
    return decision


def log_catch_up(workspace: str, *, listed: int, released: int, complete: bool) -> None:
    """Tell of one look at a workspace: versions listed, releases started, and whether it was looked at whole."""
    _log(
        {
            "event": "catch-up",
            "workspace": workspace,
            "listed": listed,
            "released": released,
            "complete": complete,
        }
    )


def log_sweep(unfinished: int, oldest_seconds: int | None) -> None:
    """Tell how many claims are open after a sweep, and for how long the oldest is; null where none is."""
    _log({"event": "sweep", "open": unfinished, "oldest_open_seconds": oldest_seconds})


def decision_line(decision: Decision) -> dict[str, Any]:
    """The values of a decision's line, what a person looks for first (pure)."""
    model, version = decision.model_version
    return {
        "event": "decision",
        "decision": decision.state.value,
        "model": model,
        "version": version,
        "target": decision.target,
        "reason": decision.reason,
        "route": decision.route,
        "release_id": decision.release_id or None,
        "attempt": decision.attempts,
        "milliseconds": decision.milliseconds,
        "workspace": decision.workspace,
        "event_id": decision.event_id,
    }


def _log(line: dict[str, Any]) -> None:
    logger.info("%s", json.dumps(line, ensure_ascii=False))

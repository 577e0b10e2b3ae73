"""What is shown of the history: plain values, the same for the page and for JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_release.domain.claims import NEVER, Answer, Claim, Decision, Known
from model_release.domain.events import Workspace
from model_release.domain.release_map import Verdict
from model_release.store.history import Page


@dataclass(frozen=True)
class Story:
    """All that is known of one model version, and what the release map says of it now."""

    workspace: Workspace
    model: str
    version: str
    known: Known
    verdicts: tuple[Verdict, ...]


def history(page: Page) -> dict[str, Any]:
    """Some lines of the history, the newest first; `older` is the `place` of the next page, null at the end."""
    return {"decisions": [decision(one) for one in page.decisions], "older": page.older or None}


def decision(one: Decision) -> dict[str, Any]:
    """One line of the history."""
    model, version = one.model_version
    return {
        "when": _time(one.when),
        "subject": one.subject,
        "model": model or None,
        "version": version or None,
        "workspace": one.workspace or None,
        "state": one.state.value,
        "reason": one.reason,
        "target": one.target or None,
        "route": one.route or None,
        "attempts": one.attempts,
        "next_try": _next_try(one),
        "release": _release(one),
        "event_id": one.event_id,
    }


def story(one: Story) -> dict[str, Any]:
    """The whole story of a model version."""
    return {
        "workspace": one.workspace.id,
        "model": one.model,
        "version": one.version,
        "ignored": one.known.ignored or None,
        "claims": [claim(one) for one in one.known.claims],
        "routes": routes(one.verdicts),
        "event": json.loads(one.known.event),
    }


def claim(one: Claim) -> dict[str, Any]:
    """A model version's way to one target."""
    return {
        "claim": one.key,
        "target": str(one.target),
        "route": one.route,
        "created": _time(one.created),
        "state": one.state.value,
        "reason": one.reason,
        "final": one.state.final,
        "on_purpose": bool(one.again),
        "attempts": one.attempts,
        "next_try": _next_try(one),
        "release": _release(one),
        "answers": [_answer(answer) for answer in one.answers],
    }


def routes(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """What each route says of a model version."""
    return [{"route": verdict.route.title, "takes": verdict.takes, "reason": verdict.reason} for verdict in verdicts]


def visible(text: str) -> str:
    """The text with those characters written out that change how the others are shown, such as a right-to-left mark."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "attempt": answer.attempt,
        "when": _time(answer.when),
        "state": answer.state.value,
        "reason": answer.reason,
    }


def _release(one: Claim | Decision) -> dict[str, Any] | None:
    if not one.release_id:
        return None
    return {"id": one.release_id, "name": one.release_name, "url": one.release_url}


def _next_try(one: Claim | Decision) -> str | None:
    return None if one.state.final or one.next_try == NEVER else _time(one.next_try)


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")

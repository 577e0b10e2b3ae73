"""The history as HTML, made of the same values as the JSON; no script, and one style sheet that the policy names."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model_release.claim import State
from model_release.views import printable

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "style.css").read_text("utf-8")
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Content-Security-Policy
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # A stricter one would take the origin from our own form, by which a foreign page's is told.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# A shape for each state: colour alone tells nothing to many.
_SIGNS = {
    State.STARTED: "✓",
    State.STARTING: "▸",
    State.WAITING: "◷",
    State.UNKNOWN: "?",
    State.REFUSED: "✕",
    State.SUPERSEDED: "↷",
    State.WITHDRAWN: "↩",
    State.ABANDONED: "■",
    State.IGNORED: "○",
}


def render(name: str, **values: Any) -> str:
    """The page of that name; everything in it is escaped."""
    return _environment().get_template(f"{name}.html").render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {
        "style": _STYLE,
        "states": [state.value for state in State],
        "signs": {state.value: sign for state, sign in _SIGNS.items()},
    }
    environment.filters |= {"printable": printable, "time": lambda text: text.replace("T", " ").replace("Z", " UTC")}
    return environment

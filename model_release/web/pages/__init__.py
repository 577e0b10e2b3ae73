"""The history as HTML, made of the same values as the JSON; no script, and one style sheet that the policy names."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from model_release.domain.claims import State
from model_release.web.views import visible

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
    # Going back shows the form as it was, and a wish that came to its release starts no second one.
    "Cache-Control": "private, no-cache",
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
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_harmless,
    )
    environment.globals |= {
        "style": _STYLE,
        "states": [state.value for state in State],
        "signs": {state.value: sign for state, sign in _SIGNS.items()},
    }
    environment.filters |= {
        "json": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        "time": lambda text: text.replace("T", " ").replace("Z", " UTC"),
    }
    return environment


def _harmless(value: Any) -> Any:
    # What changes how other characters are shown, such as a right-to-left mark, reaches beyond a <bdi>.
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible(value)

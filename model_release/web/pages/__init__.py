"""The pages: HTML from the same values as the JSON, without a script, with style sheets that the policy allows."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from model_release.domain.claims import State
from model_release.text import duration, relative, visible
from model_release.web.advice import NEEDS_PERSON
from model_release.web.history_query import OPEN
from model_release.web.views import source_name

_FOLDER = Path(__file__).parent
# The page of the model version has the whole reason.
_SHORT = 160
# A sign for each state: many people cannot distinguish colours. Screen readers skip the second form.
_SIGNS: Mapping[str, str] = {
    State.STARTED: "✓",
    State.STARTING: "▸",
    State.WAITING: "◷",
    State.HELD: "‖",
    State.UNKNOWN: "?",
    State.REFUSED: "✕",
    State.SUPERSEDED: "↷",
    State.WITHDRAWN: "↩",
    State.ABANDONED: "■",
    State.IGNORED: "○",
    "pinned": "⚲",
}


def _style(name: str) -> str:
    """Return a style sheet without blanks, because the Functions host does not compress answers."""
    text = (_FOLDER / f"{name}.css").read_text("utf-8")
    return re.sub(r"\s*([{};,>])\s*|(?<=:)\s+", r"\1", " ".join(text.split())).replace(";}", "}")


def _source(style: str) -> str:
    """Return what the policy calls a style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


_STYLE = _style("style") + "".join(f'.{state}{{--sign:"{sign} "}}' for state, sign in _SIGNS.items())
_OF_PAGES = {name: _style(name) for name in ("model_version", "targets")}
# https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Content-Security-Policy
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {' '.join(map(_source, [_STYLE, *_OF_PAGES.values()]))}; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # A stricter policy removes the origin from our own form, so that it looks like a form of another site.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
    # Without a key in the address, going back shows the same form with the same idempotency key: sent again, it starts
    # nothing.
    "Cache-Control": "private, no-cache",
}


def render(name: str, **values: Any) -> str:
    """Render a page; all values are escaped."""
    return _environment().get_template(f"{name}.html").render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_escaped,
    )
    environment.globals |= {
        "style": _STYLE,
        "style_of": _OF_PAGES,
        "states": [OPEN, *(state.value for state in State)],
        "needs_person": NEEDS_PERSON,
        "open_states": [OPEN, *(state.value for state in State if not state.final), State.ABANDONED.value],
        # A release that was started is not deployed yet.
        "labels": {State.STARTED.value: "release started"},
    }
    environment.filters |= {
        "json": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        "time": lambda text: text.replace("T", " ").replace("Z", " UTC"),
        "relative": lambda text, now: relative(datetime.fromisoformat(text), now),
        "is_past": lambda text, now: datetime.fromisoformat(text) <= now,
        "duration": lambda text, since: duration(datetime.fromisoformat(text) - datetime.fromisoformat(since)),
        "name": source_name,
        "is_short": lambda text: len(text) <= _SHORT,
        "short": lambda text: text if len(text) <= _SHORT else f"{text[:_SHORT]}…",
    }
    return environment


def _escaped(value: Any) -> Any:
    # Characters such as a right-to-left mark have an effect beyond their <bdi>.
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible(value)

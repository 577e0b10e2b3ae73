"""Show the history: one line for each decision, the newest first."""

from __future__ import annotations

from typing import Any

import click

from model_release.cli.app import STYLES, App, app_options, when
from model_release.cli.terminal import as_json, progress, show_json, show_table
from model_release.domain.claims import State

_PAGE = 200


@click.command()
@click.option("--model", help="A model's name, or the beginning of one: 'fraud*'.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only decisions in this state.")
@click.option("--since", metavar="TIME", help="A day such as 2026-11-20, or a time in UTC: 2026-11-20T18:41.")
@click.option("--until", metavar="TIME", help="The same; a day counts whole.")
@click.option("--ignored", is_flag=True, help="Ignored events too.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at the most.")
@app_options
@as_json
def history(*, limit: int, ignored: bool, url: str, key: str | None, as_json: bool, **asked: str | None) -> None:
    """Show the history: one line for each decision, the newest first."""
    found = _read(App(url, key), limit, asked | {"ignored": "yes" if ignored else None})
    if as_json:
        show_json(found)
    elif found["decisions"]:
        show_table(("When (UTC)", "Model version", "Workspace", "State", "Why", "Release"), _rows(found), STYLES)
    else:
        click.echo("No decision matches." if any(asked.values()) else "Nothing has been decided yet.", err=True)
    if found["older"] and not as_json:
        click.echo("There are older ones: a higher --limit shows more, --until other ones.", err=True)


def _read(app: App, limit: int, asked: dict[str, str | None]) -> dict[str, Any]:
    decisions: list[dict[str, Any]] = []
    older = None
    for first in progress(range(0, limit, _PAGE), "Reading the history"):
        page = app.history(**asked, count=min(limit - first, _PAGE), place=older)
        decisions += page["decisions"]
        older = page["older"]
        if not older:
            break
    return {"decisions": decisions, "older": older}


def _rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            when(line["when"]),
            f"{line['model']}:{line['version']}" if line["model"] else line["subject"],
            (line["workspace"] or "").rpartition("/")[2],
            line["state"],
            _why(line),
            (line["release"] or {"name": ""})["name"],
        )
        for line in found["decisions"]
    ]


def _why(line: dict[str, Any]) -> str:
    more = [f"{line['attempts']} attempts"] if line["attempts"] > 1 else []
    more += [f"next try {when(line['next_try'])}"] if line["next_try"] else []
    return f"{line['reason']} ({', '.join(more)})" if more else str(line["reason"])

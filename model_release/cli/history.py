"""The command `history`."""

from typing import Any

import click

from model_release.cli.app import AppClient, key_option, utc
from model_release.cli.terminal import STYLES, as_json, progress, show_json, show_table, show_text, url_option
from model_release.domain.claims import State
from model_release.web.views import source_name

_PAGE = 200
_MOST_PAGES = 1000


@click.command()
@click.option("--model", help="Only models with this part of a name, or a pattern: 'fraud*'.")
@click.option("--target", help="Only targets with this part of a name.")
@click.option("--workspace", help="Only workspaces with this part of a name.")
@click.option(
    "--state",
    type=click.Choice(["open", *(state.value for state in State)]),
    help="Only entries in this state; `open` is every state that is not final.",
)
@click.option("--since", metavar="TIME", help="A day such as 2026-11-20, or a UTC time: 2026-11-20T18:41.")
@click.option("--until", metavar="TIME", help="A day, which is included, or a UTC time.")
@click.option("--ignored", is_flag=True, help="Include ignored events.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number of entries."
)
@url_option
@key_option
@as_json
def history(*, limit: int, ignored: bool, url: str, key: str | None, as_json: bool, **filters: str | None) -> None:
    """Show the history, the last change first: one entry for each model version and target."""
    found = _read(AppClient(url, key), limit, filters | {"ignored": "yes" if ignored else None})
    if as_json:
        show_json(found)
    elif found["entries"]:
        rows = [_row(entry) for entry in found["entries"]]
        show_table(("Time (UTC)", "Model version", "Workspace", "State", "Reason", "Target, release"), rows, STYLES)
    else:
        show_text("No entry matches." if any(filters.values()) else "The history is empty.", on_stderr=True)
    if found["continuation"] and not as_json:
        show_text("There are older entries: increase --limit, or set --until.", on_stderr=True)


def _read(app: AppClient, limit: int, filters: dict[str, str | None]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    continuation = None
    # A page may have fewer entries than its limit, although older ones match.
    for _ in progress(range(_MOST_PAGES), "Reading the history"):
        page = app.history(**filters, limit=min(limit - len(entries), _PAGE), continuation=continuation)
        entries += page["entries"]
        continuation = page["continuation"]
        if not continuation or len(entries) == limit:
            break
    return {"entries": entries, "continuation": continuation}


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        utc(entry["time"]),
        f"{entry['model']}:{entry['version']}" if entry["model"] else entry["subject"],
        source_name(entry["workspace"] or ""),
        entry["state"],
        _reason(entry),
        ", ".join(filter(None, (entry["target"], (entry["release"] or {"name": ""})["name"]))),
    )


def _reason(entry: dict[str, Any]) -> str:
    more = [f"attempt {entry['attempt']}"] if entry["attempt"] > 1 else []
    more += [f"next attempt {utc(entry['next_attempt'])}"] if entry["next_attempt"] else []
    return f"{entry['reason']} ({', '.join(more)})" if more else str(entry["reason"])

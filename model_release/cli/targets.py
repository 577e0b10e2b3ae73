"""The command `targets`."""

from typing import Any

import click

from model_release.cli.app import AppClient, key_option, utc
from model_release.cli.terminal import STYLES, as_json, show_json, show_table, show_text, url_option
from model_release.domain.claims import State

_PAGE = 200


@click.command()
@click.option("--model", help="Only models with this part of a name.")
@click.option("--target", help="Only targets with this part of a name.")
@click.option("--workspace", help="Only workspaces with this part of a name.")
@click.option(
    "--state",
    type=click.Choice(["open", *(state.value for state in State)]),
    help="Only targets with a version in this state; `open` is every state that is not final.",
)
@click.option("--pinned", is_flag=True, help="Only pinned targets.")
@click.option("--rebuild", is_flag=True, help="Build the list again from the history first.")
@url_option
@key_option
@as_json
def targets(*, pinned: bool, rebuild: bool, url: str, key: str | None, as_json: bool, **filters: str | None) -> None:
    """Show what is released where, what needs attention first."""
    app = AppClient(url, key)
    if rebuild:
        show_text(f"{app.rebuild_targets()} targets were built again.", on_stderr=True)
    filters["pinned"] = "yes" if pinned else None
    page = found = app.targets(**filters, limit=_PAGE)
    while page["continuation"]:
        page = app.targets(**filters, limit=_PAGE, continuation=page["continuation"])
        found["targets"] += page["targets"]
    if as_json:
        show_json(found | {"continuation": None})
    elif found["targets"]:
        rows = [row for target in found["targets"] for row in _rows(target)]
        show_table(("Model", "Target", "Started last", "Since (UTC)", "By", "Version", "State", "Reason"), rows, STYLES)
    else:
        show_text("No target matches." if any(filters.values()) else "Nothing was started.", on_stderr=True)


def _rows(target: dict[str, Any]) -> list[tuple[str, ...]]:
    started, pin = target["started"], target["pin"]
    version = started["version"] if started else ""
    names = (
        target["model"],
        target["target"],
        f"{version} (pinned)" if pin and pin["version"] == version else version,
        utc(started["time"]) if started else "",
        _who(started) if started else "",
    )
    waits = [(pin["version"], "pinned", "its release is not out yet")] if pin and pin["waits"] else []
    others = [*waits, *((one["version"], one["state"], one["reason"]) for one in target["others"])]
    first, *more = others or [("", "", "")]
    return [(*names, *first), *(("", "", "", "", "", *one) for one in more)]


def _who(started: dict[str, Any]) -> str:
    return (started["by"] or "a person") if started["manual"] else f"route {started['route']}"

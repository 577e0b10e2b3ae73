"""What all commands share: the settings of this machine, and answers as a table or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from model_release import app as wiring
from model_release.domain.release_map import ReleaseMap
from model_release.errors import ConfigurationError
from model_release.settings import Settings
from model_release.web.views import visible

_T = TypeVar("_T")

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def environment(folder: Path = Path()) -> dict[str, str]:
    """The app's settings: the environment's, and those of local.settings.json that it does not have."""
    path = folder / "local.settings.json"
    try:
        values = json.loads(path.read_text("utf-8-sig")).get("Values", {}) if path.exists() else {}
    except (ValueError, AttributeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from error  # noqa: EM102, TRY003
    return {**values, **os.environ}


def configuration(map_path: Path | None = None) -> tuple[Settings, ReleaseMap]:
    """This machine's settings and release map, for commands that ask no storage; every fault of both ends the command.

    Another release map may take the place of the settings'.
    """
    chosen = {"RELEASE_MAP": str(map_path.absolute())} if map_path else {}
    try:
        return wiring.configuration({"AzureWebJobsStorage": "not asked", **environment(), **chosen})
    except ConfigurationError as error:
        raise click.ClickException("\n  ".join(["this cannot be used:", *error.faults])) from error


def show_json(value: Any) -> None:
    """Print it as JSON."""
    click.echo(visible(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Mapping[str, str] | None = None,
    *,
    aside: bool = False,
) -> None:
    """Print a table that fits the terminal's width; cells are text, never markup, `styles` are by a cell's word.

    `aside` prints it on stderr, where stdout is for something else.
    """
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*(Text(visible(cell), style=(styles or {}).get(cell, ""), overflow="fold") for cell in row))
    Console(highlight=False, stderr=aside).print(table)


def progress(work: Iterable[_T], what: str) -> Iterator[_T]:
    """The pieces of long work, with a bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    yield from track(work, what, console=console, transient=True, disable=not console.is_terminal)

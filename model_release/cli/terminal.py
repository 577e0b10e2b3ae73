"""What all commands share: this machine's settings, and results as a table or as JSON."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from model_release import app as app_module
from model_release.azure_devops.client import AzureDevOps
from model_release.domain.release_map import ReleaseMap
from model_release.settings import Settings
from model_release.text import safe, shorten

_T = TypeVar("_T")

STYLES = {
    "started": "green",
    "starting": "cyan",
    "waiting": "yellow",
    "held": "yellow",
    "unknown": "yellow",
    "refused": "red",
    "abandoned": "red",
}
_OF_FUNCTIONS = re.compile(r"/?|/(api|runtime|admin)(/.*)?", re.IGNORECASE)
_SIGN_IN = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")


def _address(_: click.Context, __: click.Parameter, text: str) -> str:
    """Read the address of the app; the path of one of its functions is left out, and a missing scheme is added."""
    given = text.strip()
    if "://" not in given:
        host = given.partition("/")[0].partition(":")[0].lower()
        given = f"{'http' if host in ('localhost', '127.0.0.1') else 'https'}://{given}"
    try:
        parts = urlsplit(given)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    example = "https://APP.azurewebsites.net"
    if not valid:
        raise click.BadParameter(f"{shorten(text)!r} is not the address of an app, such as {example}")
    if parts.username is not None or parts.query or parts.fragment:
        problem = "the address has more than a host; remove what is before `@` and after `?` or `#`"
        raise click.BadParameter(f"{problem}, and pass a key in the environment variable of --key")
    if not _OF_FUNCTIONS.fullmatch(parts.path):
        raise click.BadParameter(f"{shorten(text)!r} has a path; use the address of the app alone, such as {example}")
    return f"{parts.scheme}://{parts.netloc}"


url_option = click.option(
    "--url",
    callback=_address,
    default="http://127.0.0.1:7071",
    show_default=True,
    envvar="MODEL_RELEASE_URL",
    show_envvar=True,
    help="The address of the app.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ValueError with the problem."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text") from error


def environment(folder: Path = Path()) -> dict[str, str]:
    """Return the environment variables, and the values of local.settings.json that they do not override."""
    path = folder / "local.settings.json"
    try:
        content = read_json(path) if path.exists() else {}
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    values = content.get("Values", {}) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise click.ClickException(f"{path} has no object `Values`; copy local.settings.sample.json")
    # azure-identity reads them from the environment only.
    os.environ.update({name: values[name] for name in _SIGN_IN if name in values and name not in os.environ})
    return {**values, **os.environ}


def connect(url: str, pat: str, client_id: str = "", seconds: float = 20) -> AzureDevOps:
    """Return Azure DevOps with the app's sign-in; one request lasts up to `seconds`."""
    return AzureDevOps(url, app_module.sign_in(pat, app_module.LazyCredential(client_id)), timeout=seconds)


def configuration(map_path: Path | None = None) -> tuple[Settings, ReleaseMap]:
    """Read this machine's settings and release map, for commands without storage; raises ConfigurationError.

    `map_path` replaces the release map of the settings.
    """
    values = environment()
    if not any(name.startswith("AzureWebJobsStorage") for name in values):
        values["AzureWebJobsStorage"] = "UseDevelopmentStorage=true"
    if map_path:
        values["RELEASE_MAP"] = str(map_path.absolute())
    return app_module.configuration(values)


def show_text(text: str = "", *, on_stderr: bool = False) -> None:
    """Print text without credentials that cannot control the terminal."""
    click.echo(safe(text), err=on_stderr)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    show_text(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Mapping[str, str] | None = None,
    *,
    on_stderr: bool = False,
) -> None:
    """Print a table that fits the terminal; cells are plain text, and `styles` maps the text of a cell to its style."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*(Text(safe(cell), style=(styles or {}).get(cell, ""), overflow="fold") for cell in row))
    Console(highlight=False, stderr=on_stderr).print(table)


def progress(work: Iterable[_T], description: str) -> Iterator[_T]:
    """Yield the items of long work, with a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    yield from track(work, description, console=console, transient=True, disable=not console.is_terminal)

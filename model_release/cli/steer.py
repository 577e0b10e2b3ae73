"""The commands `pin`, `unpin` and `set-mark-back`."""

from collections.abc import Callable

import click

from model_release.cli.app import (
    AppClient,
    Json,
    by_option,
    claim_on,
    comment_option,
    confirm,
    key_option,
    model_version_argument,
    pinned,
    show_entries,
    target_option,
    the_one,
    workspace_option,
    yes_option,
)
from model_release.cli.terminal import as_json, url_option

_model_argument = click.argument("model")


def _steering_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all three commands have."""
    for option in reversed(
        (comment_option, by_option, workspace_option, target_option, yes_option, url_option, key_option, as_json)
    ):
        command = option(command)
    return command


@click.command()
@_model_argument
@_steering_options
def pin(
    *,
    model: str,
    comment: str,
    by: str,
    workspace: str | None,
    target: str | None,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Keep the version of a model that was started last; newer versions are held until `unpin`.

    To go back to another version and keep it, run `start MODEL:VERSION --pin`.
    """
    app = AppClient(url, key)
    line = _the_line(app.lines(model, workspace=workspace, target=target))
    if line["version"] is None:
        raise click.ClickException("No version was started at this target. Run `start MODEL:VERSION --pin`.")
    effect = [f"This keeps {model}:{line['version']} at {line['target']}. Newer versions are held until `unpin`."]
    confirm("\n".join([*_now(line), *effect]), yes=yes)
    show_entries(app.steer(line, pin="yes", by=by, comment=comment), as_json=as_json)


@click.command()
@_model_argument
@click.option("--keep", is_flag=True, help="Start none of the versions that are held; they are superseded.")
@_steering_options
def unpin(
    *,
    model: str,
    keep: bool,
    comment: str,
    by: str,
    workspace: str | None,
    target: str | None,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Remove the pin of a model, and start the newest version that it held."""
    app = AppClient(url, key)
    line = _the_line(app.lines(model, workspace=workspace, target=target))
    if line["pin"] is None:
        raise click.ClickException(f"{model} is not pinned at {line['target']}.")
    then = "closes what is pending, and starts nothing" if keep else "starts the newest version that is held"
    confirm("\n".join([*_now(line), f"This removes the pin and {then}."]), yes=yes)
    answer = "keep" if keep else "yes"
    entries = app.steer(line, unpin=answer, since=line["pin"]["since"], by=by, comment=comment)
    show_entries(entries, as_json=as_json)


@click.command("set-mark-back")
@model_version_argument
@_steering_options
def set_mark_back(
    *,
    model_version: tuple[str, str],
    comment: str,
    by: str,
    workspace: str | None,
    target: str | None,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Set the high-water mark back to a model version after a newer one was registered by mistake.

    Newer versions than this one start again when they are registered. This version itself is not started: run `start`.
    """
    app = AppClient(url, key)
    detail = the_one(app.model_versions(*model_version, workspace))
    claim = claim_on(target, detail["claims"])
    if claim is None:
        raise click.ClickException("This version has no claim, so there is no high-water mark to set back.")
    confirm(_effect(detail, claim, by), yes=yes)
    entries = app.post(detail, claim=claim["claim"], set_mark_back="yes", by=by, comment=comment)
    show_entries(entries, as_json=as_json)


def _effect(detail: Json, claim: Json, by: str) -> str:
    name = f"{detail['model']}:{detail['version']}"
    return (
        f"{name} at {claim['target']} is {claim['state']}: {claim['reason']}\n"
        f"This sets the high-water mark back to version {detail['version']}. Newer versions start again when they are "
        f"registered; {name} itself is not started.\n"
        f"The history shows that {by} did this, with the comment."
    )


def _now(line: Json) -> list[str]:
    pending = ", ".join(f"{one['version']} ({one['state']})" for one in line["pending"])
    return [
        *([pinned(line["pin"])] if line["pin"] else []),
        *([f"Pending at {line['target']}: {pending}."] if pending else []),
    ]


def _the_line(lines: list[Json]) -> Json:
    """Return the line of a model, which only one workspace and target may have."""
    if len(lines) > 1:
        choice = [f"--workspace {line['workspace'].rpartition('/')[2]} --target '{line['target']}'" for line in lines]
        raise click.ClickException("\n  ".join(["The model has several targets; choose one:", *choice]))
    return lines[0]

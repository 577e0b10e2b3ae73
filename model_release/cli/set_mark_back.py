"""The command `set-mark-back`."""

import getpass

import click

from model_release.cli.app import (
    AppClient,
    Json,
    claim_on,
    confirm,
    key_option,
    model_version_argument,
    show_entries,
    target_option,
    the_one,
    url_option,
    workspace_option,
    yes_option,
)
from model_release.cli.terminal import as_json


def _user() -> str:
    try:
        return getpass.getuser()
    # Python before 3.13 raises KeyError if the user has no name, and ImportError on Windows.
    except (OSError, KeyError, ImportError) as error:
        raise click.UsageError("This machine has no name for the signed-in user; set --by.") from error


@click.command("set-mark-back")
@model_version_argument
@click.option("--comment", required=True, help="Why the mark is set back, for the history: 1 to 500 characters.")
@click.option(
    "--by",
    default=_user,
    show_default="the name of the signed-in user of this machine",
    help="Who sets the mark back, for the history: 1 to 100 characters.",
)
@workspace_option
@target_option
@yes_option
@url_option
@key_option
@as_json
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

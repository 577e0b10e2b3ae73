"""Start a release for a model version on purpose."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import click

from model_release.cli.app import App, ModelVersion, app_options
from model_release.cli.terminal import as_json, show_json
from model_release.domain.claims import State
from model_release.web.views import visible

_ON_ITS_WAY = (State.STARTED, State.STARTING, State.WAITING, State.UNKNOWN)
Story = dict[str, Any]
Claim = dict[str, Any]


@click.command()
@click.argument("model_version", metavar="MODEL:VERSION", type=ModelVersion())
@click.option("--workspace", help="The name or the resource id of the workspace, where several have this version.")
@click.option("--target", help="PROJECT/DEFINITION as `show` prints it, where the version has claims on several.")
@click.option(
    "--wish", help="A name for this wish, of 8 to 64 letters, digits and '-': sent again, it starts nothing more."
)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@app_options
@as_json
def start(
    *,
    model_version: tuple[str, str],
    workspace: str | None,
    target: str | None,
    wish: str | None,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Start a release for a model version on purpose, although one exists.

    What waits, was refused or has no answer yet is tried now; for an ignored version the release map is asked again.
    The exit code is 1 when no release started and none is on its way.
    """
    app = App(url, key)
    story = _story(app.stories(*model_version, workspace))
    claim = _claim(story["claims"], target)
    click.echo(visible(_what_it_does(story, claim)), err=True)
    if not yes:
        click.confirm("Go on?", abort=True, err=True)
    done = app.start(story, **_request(claim, wish or str(uuid.uuid4())))
    if as_json:
        show_json(done)
    else:
        click.echo("\n".join(visible(_told(decision)) for decision in done["decisions"]))
    sys.exit(not any(decision["state"] in _ON_ITS_WAY for decision in done["decisions"]))


def _story(stories: list[Story]) -> Story:
    if len(stories) > 1:
        ids = [story["workspace"] for story in stories]
        names = {id_.rpartition("/")[2] for id_ in ids}
        choice = sorted(names) if len(names) == len(ids) else ids
        msg = "\n  ".join(["Several workspaces have this version: name one by --workspace", *choice])
        raise click.ClickException(msg)
    return stories[0]


def _claim(claims: list[Claim], target: str | None) -> Claim | None:
    """The claim to start again: the one that is not done yet, or the first; None where the version has none."""
    targets = sorted({claim["target"] for claim in claims})
    if target and target.casefold() not in {one.casefold() for one in targets}:
        msg = "\n  ".join([f"This version has no claim on {target}, only on these:", *(targets or ["none"])])
        raise click.ClickException(msg)
    if not target and len(targets) > 1:
        msg = "\n  ".join(["This version has claims on several targets: name one by --target", *targets])
        raise click.ClickException(msg)
    ours = [claim for claim in claims if not target or claim["target"].casefold() == target.casefold()]
    return next((claim for claim in ours if not claim["final"]), ours[0] if ours else None)


def _request(claim: Claim | None, wish: str) -> dict[str, str]:
    if claim is None:
        return {}
    return {"claim": claim["claim"], "wish": wish} if claim["final"] else {"claim": claim["claim"]}


def _what_it_does(story: Story, claim: Claim | None) -> str:
    name = f"{story['model']}:{story['version']}"
    if claim is None:
        takes = [route["route"] for route in story["routes"] if route["takes"]]
        now = f"By now {', '.join(takes)} would." if takes else "By now no route would either."
        return f"{name} was ignored: {story['ignored']}. This asks the release map again. {now}"
    stands = f"{name} at {claim['target']} is {claim['state']}: {claim['reason']}"
    if not claim["final"]:
        return f"{stands}\nThis tries it now."
    releases = [
        f"  {one['release']['name']}  {one['release']['url']}"
        for one in story["claims"]
        if one["release"] and one["target"] == claim["target"]
    ]
    although = ", although there is:" if releases else "."
    return "\n".join([stands, f"This starts another release, on purpose{although}", *releases])


def _told(decision: dict[str, Any]) -> str:
    release = decision["release"]
    where = f"\n{release['name']}  {release['url']}" if release else ""
    return f"{decision['state']}: {decision['reason']}{where}"

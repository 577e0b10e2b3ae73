"""Show the whole story of a model version."""

from __future__ import annotations

import json
from typing import Any

import click

from model_release.cli.app import STYLES, App, ModelVersion, app_options, when
from model_release.cli.terminal import as_json, show_json, show_table
from model_release.web.views import visible


@click.command()
@click.argument("model_version", metavar="MODEL:VERSION", type=ModelVersion())
@click.option("--workspace", help="The name or the resource id of a workspace; all of them otherwise.")
@app_options
@as_json
def show(*, model_version: tuple[str, str], workspace: str | None, url: str, key: str | None, as_json: bool) -> None:
    """Show the whole story of a model version.

    Its claims with each attempt and its answer, the routes as the release map is now, and the event as it was received.
    """
    stories = App(url, key).stories(*model_version, workspace)
    if as_json:
        show_json({"stories": stories})
        return
    for story in stories:
        _tell(story)


def _tell(story: dict[str, Any]) -> None:
    click.echo(f"{story['model']}:{story['version']} in {story['workspace']}")
    for claim in story["claims"]:
        _tell_claim(claim)
    if story["ignored"]:
        click.echo(f"\nIgnored: {visible(story['ignored'])}")
    click.echo("\nRoutes, as the release map is now")
    routes = [(route["route"], "yes" if route["takes"] else "no", route["reason"]) for route in story["routes"]]
    show_table(("Route", "Takes it", "Why"), routes)
    click.echo(f"\nThe event as it was received\n{visible(json.dumps(story['event'], indent=2, ensure_ascii=False))}")


def _tell_claim(claim: dict[str, Any]) -> None:
    release = claim["release"]
    told = {
        "State": f"{claim['state']}: {claim['reason']}",
        "Release": release and f"{release['name']}  {release['url']}",
        "Route": claim["route"],
        "Claimed": f"{when(claim['created'])} UTC",
        "Next try": claim["next_try"] and f"{when(claim['next_try'])} UTC",
    }
    click.echo(f"\n{visible(claim['target'])}{', started again on purpose' if claim['on_purpose'] else ''}")
    for name, text in told.items():
        if text:
            click.echo(f"  {name:<9} {visible(text)}")
    answers = [
        (str(answer["attempt"]), when(answer["when"]), answer["state"], answer["reason"]) for answer in claim["answers"]
    ]
    if answers:
        show_table(("Attempt", "When (UTC)", "Came to", "Answer"), answers, STYLES)

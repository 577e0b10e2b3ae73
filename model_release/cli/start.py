"""The command `start`."""

import sys
import uuid
from typing import Any

import click

from model_release.cli.app import AppClient, key_option, model_version_argument, url_option
from model_release.cli.terminal import as_json, show_json
from model_release.domain.claims import State
from model_release.text import visible

_STARTED_OR_PENDING = (State.STARTED, State.STARTING, State.WAITING, State.UNKNOWN)
Json = dict[str, Any]


@click.command()
@model_version_argument
@click.option("--workspace", help="The name or the resource ID of the workspace, if several have this version.")
@click.option("--target", help="PROJECT/DEFINITION as `show` prints it, if the version has claims on several targets.")
@click.option(
    "--idempotency-key",
    help="8 to 64 letters, digits and '-'; a second call with the same key starts nothing. Default: a new key.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@url_option
@key_option
@as_json
def start(
    *,
    model_version: tuple[str, str],
    workspace: str | None,
    target: str | None,
    idempotency_key: str | None,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Start a release for a model version manually, even if one exists.

    A claim that is not final is tried now; an ignored version is matched with the release map again.
    The exit code is 1 if no release is started and none is pending.
    """
    app = AppClient(url, key)
    detail = _the_one(app.model_versions(*model_version, workspace))
    claim = _claim(detail["claims"], target)
    click.echo(visible(_effect(detail, claim)), err=True)
    if not yes:
        click.confirm("Continue?", abort=True, err=True)
    body = {"claim": claim["claim"]} if claim else {}
    if claim and claim["final"]:
        body["idempotency_key"] = idempotency_key or str(uuid.uuid4())
    entries = app.start(detail, **body)
    if as_json:
        show_json({"entries": entries})
    else:
        click.echo("\n".join(visible(_line(entry)) for entry in entries))
    sys.exit(not any(entry["state"] in _STARTED_OR_PENDING for entry in entries))


def _the_one(details: list[Json]) -> Json:
    if len(details) > 1:
        ids = [detail["workspace"] for detail in details]
        names = {id_.rpartition("/")[2] for id_ in ids}
        choice = sorted(names) if len(names) == len(ids) else ids
        raise click.ClickException("\n  ".join(["Several workspaces have this version; choose --workspace:", *choice]))
    return details[0]


def _claim(claims: list[Json], target: str | None) -> Json | None:
    """Return the claim that is not final, or else the first one."""
    targets = sorted({claim["target"] for claim in claims})
    if target and target.casefold() not in {one.casefold() for one in targets}:
        lines = [f"This version has no claim on {target}; it has claims on:", *(targets or ["no target"])]
        raise click.ClickException("\n  ".join(lines))
    if not target and len(targets) > 1:
        raise click.ClickException("\n  ".join(["This version has several targets; choose --target:", *targets]))
    ours = [claim for claim in claims if not target or claim["target"].casefold() == target.casefold()]
    return next((claim for claim in ours if not claim["final"]), ours[0] if ours else None)


def _effect(detail: Json, claim: Json | None) -> str:
    name = f"{detail['model']}:{detail['version']}"
    if claim is None:
        reason = f": {detail['ignored']['reason']}" if detail["ignored"] else ""
        routes = [route["route"] for route in detail["routes"] if route["matches"]]
        now = f"route {', '.join(routes)} matches" if routes else "no route matches"
        return f"{name} is ignored{reason}\nThis matches it again. In the current release map, {now}."
    state = f"{name} at {claim['target']} is {claim['state']}: {claim['reason']}"
    if not claim["final"]:
        return f"{state}\nThis tries it now."
    releases = [
        f"  {one['release']['name']}  {one['release']['url']}"
        for one in detail["claims"]
        if one["release"] and one["target"] == claim["target"]
    ]
    existing = " in addition to:" if releases else "."
    return "\n".join([state, f"This starts another release{existing}", *releases])


def _line(entry: Json) -> str:
    release = entry["release"]
    link = f"\n{release['name']}  {release['url']}" if release else ""
    return f"{entry['state']}: {entry['reason']}{link}"

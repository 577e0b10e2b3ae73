"""The command `start`."""

import sys
import uuid

import click

from model_release.cli.app import (
    AppClient,
    Json,
    by_option,
    claim_on,
    confirm,
    key_option,
    model_version_argument,
    pinned,
    show_entries,
    target_option,
    the_one,
    utc,
    workspace_option,
    yes_option,
)
from model_release.cli.terminal import as_json, show_text, url_option
from model_release.domain.claims import State
from model_release.flow.manually import IDEMPOTENCY_KEY
from model_release.text import shorten

_STARTED_OR_PENDING = (State.STARTED, State.STARTING, State.WAITING, State.UNKNOWN)


def _idempotency_key(_: click.Context, __: click.Parameter, key: str | None) -> str | None:
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise click.BadParameter(f"{shorten(key)!r} is not 8 to 64 letters, digits and '-'")
    return key


@click.command()
@model_version_argument
@workspace_option
@target_option
@click.option(
    "--idempotency-key",
    callback=_idempotency_key,
    help="8 to 64 letters, digits and '-'; a second call with the same key starts nothing. Default: a new key.",
)
@click.option("--pin", is_flag=True, help="Keep this version at the target until `unpin`; newer versions are held.")
@click.option("--comment", default="", help="Why, for the history: up to 500 characters. With --pin it is required.")
@by_option
@click.option("--despite-throttle", is_flag=True, help="Try now although Azure DevOps asked for a pause.")
@yes_option
@url_option
@key_option
@as_json
def start(
    *,
    model_version: tuple[str, str],
    workspace: str | None,
    target: str | None,
    idempotency_key: str | None,
    pin: bool,
    comment: str,
    by: str,
    despite_throttle: bool,
    yes: bool,
    url: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Start a release for a model version manually, even if one exists.

    A claim that is not final is tried now. A version without a claim is read from Azure ML and matched with the release
    map, also if no event announced it. With --pin, also a claim that is not final is started, and stays.
    The exit code is 1 if no release is started and none is pending.
    """
    if pin and not comment.strip():
        raise click.UsageError("--pin needs --comment: why is the version kept?")
    app = AppClient(url, key)
    found = app.find(*model_version, workspace)
    detail = the_one(found["model_versions"])
    claim = claim_on(target, detail["claims"])
    if pin and claim is None:
        raise click.ClickException("This version has no claim, so it cannot be pinned. Start it first.")
    used = _started_by(idempotency_key, detail["claims"])
    if claim and idempotency_key and not (claim["final"] or pin or used):
        problem = f"This claim is {claim['state']}, so no other release is started."
        raise click.ClickException(f"{problem} To try it now, leave out --idempotency-key.")
    until = found["throttled_until"] if claim and not (claim["final"] or pin or despite_throttle) else None
    pause = (
        [f"Azure DevOps asked for a pause until {utc(until)} UTC. To override it: --despite-throttle"] if until else []
    )
    confirm("\n".join([_effect(detail, claim, pin=pin), *pause, *_consequences(claim, pin=pin)]), yes=yes)
    body = {"action": "match", "by": by, "comment": comment}
    if claim:
        body |= {"action": "start" if claim["final"] or pin else "try", "claim": claim["claim"]}
    if body["action"] != "try":
        body["idempotency_key"] = idempotency_key or str(uuid.uuid4())
    elif despite_throttle:
        body["despite_throttle"] = "yes"
    if pin:
        body["pin"] = "yes"
    entries = app.post(detail, **body)
    if used:
        began = f"this idempotency key started it at {utc(used[0])} UTC"
        show_text(f"Nothing new was started: {began}.", on_stderr=True)
    show_entries(entries, as_json=as_json)
    sys.exit(not any(entry["state"] in _STARTED_OR_PENDING for entry in entries))


def _started_by(key: str | None, claims: list[Json]) -> list[str]:
    """Return when this idempotency key started claims; a match has it in the ID of the event."""
    return [
        one["created"] for one in claims if key and key in (one["idempotency_key"], one["event_id"].rpartition(": ")[2])
    ]


def _effect(detail: Json, claim: Json | None, *, pin: bool) -> str:
    name = f"{detail['model']}:{detail['version']}"
    if "routes" not in detail:
        return f"{name} is not recorded\nThis reads it from Azure ML, and starts a release if a route matches it."
    if claim is None:
        reason = f": {detail['ignored']['reason']}" if detail["ignored"] else ""
        routes = [route["route"] for route in detail["routes"] if route["matches"]]
        now = f"route {', '.join(routes)} matches" if routes else "no route matches"
        return (
            f"{name} is ignored{reason}\n"
            f"With the tags of its event, {now} in the current release map. "
            "This matches it with its tags in Azure ML now."
        )
    state = f"{name} at {claim['target']} is {claim['state']}: {claim['reason']}"
    if not (claim["final"] or pin):
        return f"{state}\nThis tries it now."
    releases = [
        f"  {one['release']['name']}  {one['release']['url']}"
        for one in detail["claims"]
        if one["release"] and one["target"] == claim["target"]
    ]
    existing = " in addition to:" if releases else "."
    return "\n".join([state, f"This starts another release{existing}", *releases])


def _consequences(claim: Json | None, *, pin: bool) -> list[str]:
    """Say what a start does to the pin and to the newer versions that are pending at its target."""
    if claim is None:
        return []
    said = []
    if claim["pin"]:
        instead = "This moves the pin." if pin else "The app refuses this: run `unpin`, or set --pin to move the pin."
        said.append(f"{pinned(claim['pin'])}. {instead}")
    elif pin:
        said.append("This pins it: newer versions are held until `unpin`.")
    if newer := ", ".join(f"{one['version']} ({one['state']})" for one in claim["newer"]):
        then = "held until `unpin`" if pin or claim["pin"] else "released after it, and replace it; --pin holds them"
        said.append(f"Newer versions are pending here: {newer}. They are {then}.")
    return said

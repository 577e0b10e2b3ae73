"""The command `show`."""

import json
from collections.abc import Mapping
from typing import Any

import click

from model_release.cli.app import AppClient, key_option, model_version_argument, pinned, utc
from model_release.cli.terminal import STYLES, as_json, show_json, show_table, show_text, url_option
from model_release.domain.claims import State

# Nobody must read it as deployed.
_STARTED = "started (the release exists; --outcome shows its stages)"


@click.command()
@model_version_argument
@click.option("--workspace", help="The name or the resource ID of a workspace or registry; default: all.")
@click.option("--outcome", is_flag=True, help="Read the stages of each release from Azure DevOps, with who approved.")
@url_option
@key_option
@as_json
def show(
    *, model_version: tuple[str, str], workspace: str | None, outcome: bool, url: str, key: str | None, as_json: bool
) -> None:
    """Show all that is recorded of a model version.

    Prints its claims with each attempt, the routes of the current release map, and the event as received.
    """
    details = AppClient(url, key).model_versions(*model_version, workspace, outcome=outcome)
    if as_json:
        show_json({"model_versions": details})
        return
    for detail in details:
        _show(detail)


def _show(detail: dict[str, Any]) -> None:
    show_text(f"{detail['model']}:{detail['version']} in {detail['workspace']}")
    for claim in detail["claims"]:
        _show_claim(claim)
    if detail["ignored"]:
        show_text("\nIgnored")
        _show_values(_why(detail["ignored"]))
    show_text("\nRoutes of the current release map")
    routes = [(route["route"], "yes" if route["matches"] else "no", route["reason"]) for route in detail["routes"]]
    show_table(("Route", "Matches", "Reason"), routes)
    show_text(f"\nEvent as received\n{json.dumps(detail['event'], indent=2, ensure_ascii=False)}")


def _why(one: dict[str, Any]) -> dict[str, str]:
    advice = one["advice"]
    return {
        "Meaning": f"{'Needs a person. ' if advice['needs_person'] else ''}{advice['sentence']}",
        "What to do": f"{advice['do']} See {advice['url'] or advice['section']}",
        "Reason": one["reason"],
    }


def _show_values(values: Mapping[str, str | None]) -> None:
    for name, text in values.items():
        if text:
            show_text(f"  {name:<13} {text}")


def _show_outcome(outcome: dict[str, Any]) -> None:
    stages = [f"{one['name']}: {one['status']}{_approvals(one)}" for one in outcome["stages"]]
    first, *more = [outcome["problem"]] if outcome["problem"] else stages or ["no stage has begun"]
    show_text("\n".join([f"  {'Outcome':<13} {first}", *(f"  {'':<13} {line}" for line in more)]))


def _approvals(stage: dict[str, Any]) -> str:
    return "".join(f"; approval {one['status']}: {one['by']}" for one in stage["approvals"])


def _show_claim(claim: dict[str, Any]) -> None:
    release = claim["release"]
    values = {
        "State": claim["state"] if claim["state"] != State.STARTED else _STARTED,
        **_why(claim),
        "Release": release and f"{release['name']}  {release['url']}",
        "Route": claim["route"],
        "By": claim["by"] and f"{claim['by']}{'' if claim['by_verified'] else ' (stated)'}",
        "Comment": claim["comment"],
        "Pin": claim["pin"] and pinned(claim["pin"]),
        "Claimed": f"{utc(claim['created'])} UTC",
        "Next attempt": claim["next_attempt"] and f"{utc(claim['next_attempt'])} UTC",
    }
    show_text(f"\n{claim['target']}{' (restarted manually)' if claim['restart'] else ''}")
    _show_values(values)
    if claim["outcome"]:
        _show_outcome(claim["outcome"])
    attempts = [(str(one["attempt"]), utc(one["time"]), one["state"], one["reason"]) for one in claim["attempts"]]
    if attempts:
        show_table(("Attempt", "Time (UTC)", "State", "Reason"), attempts, STYLES)

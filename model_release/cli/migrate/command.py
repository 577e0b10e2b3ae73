"""The command `migrate`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.releases import ReleaseTargets
from model_release.cli.migrate.switch import switch_off
from model_release.cli.migrate.triggers import (
    Becomes,
    Json,
    OldTrigger,
    has_model_artifact,
    place,
    read_triggers,
    to_pipeline,
)
from model_release.cli.migrate.write_map import write_map
from model_release.cli.terminal import as_json, connect, environment, progress, show_json, show_table, show_text
from model_release.domain import release_map
from model_release.domain.events import ModelRegistered, Workspace
from model_release.domain.routing import plan_run
from model_release.errors import Fault, RefusedError
from model_release.settings import azure_devops_url, release_map_path

_STYLES = {"on": "bold", Becomes.MANUAL: "bold red", Becomes.DISABLED_ROUTE: "yellow"}


@click.command()
@click.argument("projects", nargs=-1, required=True, metavar="PROJECT…")
@click.option("--url", help="The organization, such as https://dev.azure.com/contoso. [env: AZURE_DEVOPS_URL]")
@click.option(
    "--workspace",
    "workspaces",
    multiple=True,
    metavar="CONNECTION=WORKSPACE",
    help="The workspace of a service connection; routes of its triggers match only that workspace.",
)
@click.option(
    "--to",
    type=click.Choice(["releases", "pipelines"]),
    default="releases",
    help="The targets of the routes: the same definitions (default), or YAML pipelines of the same names.",
)
@click.option("--write", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the map to this file.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--switch", is_flag=True, help="Switch off the triggers that the deployed map replaces.")
@click.option(
    "--map",
    "map_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The deployed map. [env: RELEASE_MAP]",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def migrate(
    projects: tuple[str, ...],
    url: str | None,
    workspaces: tuple[str, ...],
    file: Path | None,
    map_path: Path | None,
    *,
    to: str,
    force: bool,
    switch: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write the release map that replaces AzureML model triggers; then switch the triggers off.

    Reads the release definitions of each PROJECT. Only --switch changes something: it shows the plan and asks for
    confirmation. Deploy the map before you switch. The exit code is 1 if a trigger needs manual work.
    """
    pipelines = to == "pipelines"
    _check_usage(
        (switch and (file or force or workspaces or pipelines), "--switch writes no map; write and deploy it first"),
        (not switch and (yes or map_path), "--map and --yes need --switch"),
        (force and not file, "--force needs --write"),
    )
    by_connection = _by_connection(workspaces)
    if file and file.exists() and not force:
        raise click.ClickException(f"{file} exists; overwrite it with --force")
    values = environment()
    deployed = release_map.load(map_path or release_map_path(values, Path())) if switch else None
    azure_devops = _azure_devops(url, values)
    triggers = _read(azure_devops.releases, projects)
    if deployed:
        sys.exit(switch_off(azure_devops.releases, triggers, deployed, yes=yes, as_json=as_json))
    if unknown := by_connection.keys() - {trigger.connection for trigger in triggers}:
        message = f"no model artifact uses the service connection {', '.join(sorted(unknown))}"
        raise click.BadParameter(message, param_hint="--workspace")
    if pipelines:
        triggers = _to_pipelines(azure_devops, triggers)
    _show_map(triggers, by_connection, file, as_json=as_json)
    sys.exit(any(trigger.needs_work for trigger in triggers))


def _check_usage(*rules: tuple[object, str]) -> None:
    if faults := [fault for broken, fault in rules if broken]:
        raise click.UsageError("; ".join(faults))


def _by_connection(options: Sequence[str]) -> dict[str, str]:
    if wrong := [option for option in options if not all(option.partition("="))]:
        raise click.BadParameter(f"{', '.join(wrong)} is not CONNECTION=WORKSPACE", param_hint="--workspace")
    return {connection: workspace for connection, _, workspace in (option.partition("=") for option in options)}


def _azure_devops(url: str | None, values: Mapping[str, str]) -> AzureDevOps:
    token = values.get("AZURE_DEVOPS_PAT", "")
    try:
        address = azure_devops_url(url or values.get("AZURE_DEVOPS_URL", ""), token)
    except ValueError as error:
        where = "--url" if url else "AZURE_DEVOPS_URL"
        raise click.ClickException(str(Fault(str(error), getattr(error, "fix", ""), where))) from error
    return connect(address, token)


def _read(releases: ReleaseTargets, projects: Sequence[str]) -> list[OldTrigger]:
    unique = {project.casefold(): project for project in projects}.values()
    listed = {project: list(progress(releases.definitions(project), f"Listing {project}")) for project in unique}
    if empty := [project for project, found in listed.items() if not found]:
        raise click.ClickException(
            f"no release definition in {', '.join(empty)}, or you do not have View release pipeline there"
        )
    using = [(project, found) for project, all_ in listed.items() for found in all_ if has_model_artifact(found)]
    return [
        trigger
        for project, found in progress(using, "Reading definitions")
        for trigger in read_triggers(
            project, releases.definition(project, found["id"]), _namesakes(found, listed[project])
        )
    ]


def _namesakes(definition: Json, listed: Sequence[Json]) -> list[str]:
    return [
        place(other.get("path") or "\\", other["name"])
        for other in listed
        if other["id"] != definition["id"] and other["name"].casefold() == definition["name"].casefold()
    ]


def _to_pipelines(azure_devops: AzureDevOps, triggers: Sequence[OldTrigger]) -> list[OldTrigger]:
    return [
        to_pipeline(trigger, _refusal(azure_devops, trigger)) if trigger.has_route else trigger
        for trigger in progress(triggers, "Checking pipelines")
    ]


def _refusal(azure_devops: AzureDevOps, trigger: OldTrigger) -> RefusedError | None:
    """Return the refusal of a run of the pipeline, if there is one."""
    event = ModelRegistered("", Workspace("", "workspace"), trigger.model, "1", {}, {}, "")
    try:
        plan = plan_run(trigger.definition.pipeline, trigger.model, event, newest_only=False)
        azure_devops.preview(plan, event, "")
    except RefusedError as error:
        return error
    return None


def _show_map(
    triggers: Sequence[OldTrigger], workspaces: Mapping[str, str], file: Path | None, *, as_json: bool
) -> None:
    text = write_map(triggers, workspaces)
    if text and file:
        try:
            file.write_text(text, "utf-8")
        except OSError as error:
            raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    if as_json:
        show_json({"map": text, "triggers": [trigger.as_json() for trigger in triggers]})
        return
    if not file:
        show_text(text.rstrip("\n"))
    rows = [
        (
            *trigger.names,
            "on" if trigger.on else "off",
            trigger.becomes,
            "; ".join(filter(None, [trigger.reason, *trigger.notes])),
        )
        for trigger in triggers
    ]
    if rows:
        columns = ("Definition", "Artifact", "Model", "Trigger", "Becomes", "Reason")
        show_table(columns, rows, _STYLES, on_stderr=not file)
    show_text(_next_step(triggers, file, has_map=bool(text)), on_stderr=True)


def _next_step(triggers: Sequence[OldTrigger], file: Path | None, *, has_map: bool) -> str:
    if not any(trigger.on for trigger in triggers):
        return "No AzureML model artifact has its trigger on: there is nothing to migrate."
    if not has_map:
        return "None of the triggers can be replaced by a route, so there is no map."
    written = f"{file} is written. " if file else ""
    projects = " ".join(f'"{project}"' for project in dict.fromkeys(trigger.definition.project for trigger in triggers))
    pipelines = (
        "Create the pipelines that the map names, and enable their routes.\n"
        if any(trigger.kind == "pipeline" and trigger.becomes is Becomes.DISABLED_ROUTE for trigger in triggers)
        else ""
    )
    return (
        f"{written}Nothing was changed in Azure DevOps. {pipelines}"
        "After you deploy the map, switch off the old triggers:\n"
        f"  python -m model_release migrate {projects} --switch\n"
        "A version that is registered in between is released twice: by the app and by its trigger."
    )

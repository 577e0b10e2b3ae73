"""Addresses of model versions: built for pages, and read from requests."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import azure.functions as func

from model_release.domain.claims import RecordedVersion
from model_release.domain.events import NAME, Workspace, parse
from model_release.domain.routing import match
from model_release.flow import manually
from model_release.flow.start_release import StartRelease
from model_release.text import shorten
from model_release.web.records import Records
from model_release.web.views import ModelVersionDetail
from triggers.http import HttpError, link


def detail_address(req: func.HttpRequest, entry: Mapping[str, Any], records: Records) -> str:
    """Return the address of a model version's page, from a page of the first level; empty without a version."""
    if not (entry["version"] and entry["workspace"]):
        return ""
    path = f"releases/{quote(entry['model'])}/{quote(entry['version'])}"
    return link(req, path, workspace=short_workspace(entry["workspace"], records))


def short_workspace(workspace: str, records: Records) -> str:
    """Return nothing if it is the app's only source, its name if no other one has it, otherwise the resource ID."""
    if [one.id for one in records.timers.workspaces] == [workspace]:
        return ""
    name = workspace.rpartition("/")[2]
    ours = [one.id for one in records.timers.workspaces if one.name.casefold() == name.casefold()]
    return name if ours == [workspace] else workspace


def studio_address(detail: Mapping[str, Any]) -> str:
    """Return the address of a model version in Azure Machine Learning studio."""
    model, version, source = quote(detail["model"]), quote(detail["version"]), detail["workspace"]
    if "/registries/" in source:
        registry = quote(source.rpartition("/")[2])
        return f"https://ml.azure.com/registries/{registry}/models/{model}/version/{version}"
    return f"https://ml.azure.com/model/{model}:{version}/details?wsid={quote(source)}"


def name_of(req: func.HttpRequest) -> tuple[str, str]:
    """Return the model and the version of an address."""
    return req.route_params["model"], req.route_params["version"]


def read_details(req: func.HttpRequest, start_release: StartRelease, records: Records) -> list[ModelVersionDetail]:
    """Read the model version of an address, in each workspace that has records of it; raises HttpError."""
    model, version = name_of(req)
    details = []
    for workspace in workspaces_of(req, start_release.workspaces):
        recorded = records.claims.recorded(workspace, model, version).get(version)
        if recorded:
            registered = parse(recorded.event)._replace(workspace=workspace)
            details.append(ModelVersionDetail(registered, recorded, match(start_release.release_map, registered)))
    return details


def unrecorded(req: func.HttpRequest, start_release: StartRelease) -> list[ModelVersionDetail]:
    """Return a version without records, in each workspace that may have it; raises HttpError if none may."""
    ours = [one for one in workspaces_of(req, start_release.workspaces) if one in start_release.workspaces]
    if not ours:
        raise unknown(req)
    nothing = RecordedVersion((), "")
    return [ModelVersionDetail(manually.unrecorded(workspace, *name_of(req)), nothing, ()) for workspace in ours]


def unknown(req: func.HttpRequest) -> HttpError:
    """Return the error that a model version is not recorded."""
    asked = req.params.get("workspace", "")
    where = f" in workspace {shorten(asked)}" if asked else ""
    return HttpError(404, f"{':'.join(map(shorten, name_of(req)))} is not recorded{where}")


def workspaces_of(req: func.HttpRequest, ours: frozenset[Workspace]) -> list[Workspace]:
    """Return the workspaces that a request means, with the letter case of the setting; none for an invalid name."""
    asked = req.params.get("workspace", "")
    found = [one for one in ours if not asked or asked.casefold() in (one.name.casefold(), one.id)]
    if asked.startswith("/") and not found:
        try:
            found = [Workspace.parse(asked)]
        except ValueError as error:
            raise HttpError(400, str(error)) from error
    return sorted(found, key=lambda one: one.id) if all(map(NAME.fullmatch, name_of(req))) else []

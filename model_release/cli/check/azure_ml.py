"""Check that the model versions of each workspace can be read, as the app reads them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter

from model_release.azure_ml.models import AzureMl, AzureMlError
from model_release.cli.check.findings import Finding, Severity
from model_release.domain.events import Workspace

_ANY_MODEL, _ANY_VERSION = "model", "1"


def check_azure_ml(azure_ml: AzureMl, workspaces: Iterable[Workspace], *, confirm: bool) -> Iterator[Finding]:
    """List the models, list the versions of one, and read one version; `confirm` is CONFIRM_MODELS."""
    for workspace in sorted(workspaces, key=attrgetter("id")):
        where = f"workspace {workspace.name}"
        try:
            read = _read_one(azure_ml, workspace)
        except AzureMlError as error:
            severity = Severity.FAULT if confirm else Severity.WARNING
            yield Finding(severity, error.problem, where, error.fix or "check again, or sign in with `az login`")
        else:
            yield Finding(Severity.OK, f"the models of workspace {workspace.name} can be read{read}", where)
    if not confirm:
        problem = "CONFIRM_MODELS is false, so a release starts for a version that only an event names"
        fix = "assign Reader on the workspaces to the app's identity, and set it to true"
        yield Finding(Severity.WARNING, problem, "CONFIRM_MODELS", fix)


def _read_one(azure_ml: AzureMl, workspace: Workspace) -> str:
    """Read as catch-up and confirmation do; return what was read."""
    skipped: list[AzureMlError] = []
    model = next(azure_ml.models(workspace, skip=skipped.append), "")
    since = datetime.min.replace(tzinfo=UTC)
    newest = next(azure_ml.versions(workspace, model, since=since, skip=skipped.append), None) if model else None
    version = newest.version if newest else _ANY_VERSION
    azure_ml.model_version(workspace, model or _ANY_MODEL, version)
    if not newest:
        return "; no version is registered" + (f" of {model}" if model else "")
    return f", for example {model}:{version}"

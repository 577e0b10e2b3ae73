"""Check that the model versions of each workspace can be read, as the app reads them, and in time."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter

from model_release.azure_ml.items import AzureMlError, ModelContainer
from model_release.azure_ml.models import AzureMl
from model_release.azure_ml.pace import READS_A_SECOND
from model_release.cli.check.findings import Finding, Severity
from model_release.domain.events import Workspace
from model_release.settings.schedule import Schedule

_ANY_MODEL, _ANY_VERSION = ModelContainer("model", ""), "1"
_LIMIT = 25


def check_azure_ml(
    azure_ml: AzureMl, workspaces: Iterable[Workspace], schedule: Schedule, *, confirm: bool
) -> Iterator[Finding]:
    """List the models, list the versions of one, and read one version; `confirm` is CONFIRM_MODELS."""
    count = 0
    for workspace in sorted(workspaces, key=attrgetter("id")):
        where = workspace.title
        try:
            models = list(azure_ml.models(workspace, skip=lambda _: None))
            read = _read_one(azure_ml, workspace, models)
        except AzureMlError as error:
            severity = Severity.FAULT if confirm else Severity.WARNING
            yield Finding(severity, error.problem, where, error.fix or "check again")
        else:
            count += len(models)
            yield Finding(Severity.OK, f"the models of {where} can be read{read}", where)
    yield from _pace(count, schedule)
    if not confirm:
        problem = "CONFIRM_MODELS is false, so a release starts for a version that only an event names"
        fix = "assign Reader on the workspaces to the app's identity, and set it to true"
        yield Finding(Severity.WARNING, problem, "CONFIRM_MODELS", fix)


def _read_one(azure_ml: AzureMl, workspace: Workspace, models: list[ModelContainer]) -> str:
    """Read as catch-up and confirmation do; return what was read."""
    model = next(iter(models), _ANY_MODEL).name
    since = datetime.min.replace(tzinfo=UTC)
    newest = next(azure_ml.versions(workspace, model, since=since, skip=lambda _: None), None) if models else None
    version = newest.version if newest else _ANY_VERSION
    azure_ml.model_version(workspace, model, version)
    if not newest:
        return "; no version is registered" + (f" of {model}" if models else "")
    return f", for example {model}:{version}"


def _pace(models: int, schedule: Schedule) -> Iterator[Finding]:
    """Warn of more models than a run can list in its period."""
    seconds = schedule.period.total_seconds()
    if models / seconds > READS_A_SECOND:
        message = (
            f"{models:,} models every {seconds:g} s are {models / seconds:.0f} reads a second if all change, near the "
            f"{_LIMIT} that Azure Resource Manager allows; at most {READS_A_SECOND} are sent, so a run may last longer "
            "than its period"
        )
        minutes = -(-models // (60 * READS_A_SECOND))
        yield Finding(
            Severity.WARNING, message, "CATCH_UP_SCHEDULE", f"let {minutes} minutes or more pass between two runs"
        )

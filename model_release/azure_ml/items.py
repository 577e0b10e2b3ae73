"""Models and versions as Azure Resource Manager lists them, and why one could not be read (pure)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from model_release.domain.events import Workspace, text_of
from model_release.errors import Fault, ModelReleaseError
from model_release.text import shorten

_SUCCEEDED = "Succeeded"
NOT_AS_DOCUMENTED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


class AzureMlError(ModelReleaseError):
    """The model versions of a workspace could not be read, or not all of them.

    `retry_after` is the pause that Azure Resource Manager asked for.
    """

    def __init__(self, problem: str, fix: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(str(Fault(problem, fix)))
        self.problem = problem
        self.fix = fix
        self.retry_after = retry_after


class ModelListError(AzureMlError):
    """The versions of one model could not be read; those of other models may be readable."""


# Receives what a list leaves out, and why.
Skip = Callable[[AzureMlError], None]


class ModelContainer(NamedTuple):
    """A model; its versions have changed if `stamp` has. Nothing promises the reverse."""

    name: str
    stamp: str


class ModelVersion(NamedTuple):
    """A model version as it is registered now; `created` is in UTC.

    `provisioning_state` is empty if Azure ML gives none.
    """

    workspace: Workspace
    model: str
    version: str
    created: datetime
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    provisioning_state: str = ""

    @property
    def ready(self) -> bool:
        """Whether the version can be released: its registration succeeded."""
        return self.provisioning_state in ("", _SUCCEEDED)


def is_listed(item: Any) -> bool:
    """Whether an item is neither archived nor anonymous."""
    properties = item.get("properties") or {}
    return not (properties.get("isArchived") or properties.get("isAnonymous"))


def read_container(item: Any) -> ModelContainer:
    """Read a model; its stamp has the newest version and the time of its last change, if Azure ML gives them."""
    properties, system = item.get("properties") or {}, item.get("systemData") or {}
    stamp = f"{properties.get('latestVersion') or ''} {system.get('lastModifiedAt') or ''}"
    return ModelContainer(str(item["name"]), stamp)


def read_version(item: Any, model: str, workspace: Workspace) -> ModelVersion:
    """Read a version; an item that is not as documented raises one of NOT_AS_DOCUMENTED."""
    properties = item.get("properties") or {}
    return ModelVersion(
        workspace=workspace,
        model=model,
        version=str(item["name"]),
        created=read_created(item),
        tags=_texts(properties.get("tags")),
        properties=_texts(properties.get("properties")),
        provisioning_state=str(properties.get("provisioningState") or ""),
    )


def read_created(item: Any) -> datetime:
    """Return when an item was created."""
    moment = datetime.fromisoformat(item["systemData"]["createdAt"])
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


@contextmanager
def skipped_alone(item: Any, workspace: Workspace, model: str, skip: Skip) -> Iterator[None]:
    """Report an item that is not as documented, and continue with the next one."""
    try:
        yield
    except NOT_AS_DOCUMENTED:
        name = shorten(item["name"] if isinstance(item, dict) and "name" in item else item)
        skipped = f"version {name} of {model}" if model else f"model {name}"
        documents = "https://learn.microsoft.com/rest/api/azureml/"
        problem = f"{skipped} in {workspace.title} is skipped: Azure Resource Manager lists it in another form"
        skip(AzureMlError(f"{problem} than documented", f"archive it, or compare it with {documents}"))


def _texts(values: dict[str, Any] | None) -> dict[str, str]:
    return {key: text_of(value) for key, value in (values or {}).items()}

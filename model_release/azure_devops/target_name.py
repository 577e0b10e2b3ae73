"""Select the one definition or pipeline that a target names (pure)."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from model_release.domain.targets import Target, TargetKind
from model_release.errors import RefusedError
from model_release.reason import ReasonKind

_NOUNS: Mapping[TargetKind, str] = {"release": "release definition", "pipeline": "pipeline"}
NOT_FOUND_FIX: Mapping[TargetKind, str] = {
    "release": "correct the route's project or definition, or grant View release pipeline",
    "pipeline": "correct the route or the pipeline, or grant View build pipeline and Queue builds",
}

_PROJECT_IN_URL = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/_apis/", re.IGNORECASE)


def project_id_of(definition: Mapping[str, Any]) -> str:
    """Return the project's ID, which a release definition contains in one of two places; otherwise an empty text."""
    reference = definition.get("projectReference") or {}
    return str(reference.get("id") or "") or project_id_in(definition.get("url") or "")


def project_id_in(url: str) -> str:
    """Return the project's ID in an address of the REST API; otherwise an empty text."""
    found = _PROJECT_IN_URL.search(url)
    return found[1] if found else ""


def split(target: Target) -> tuple[str | None, str]:
    """Split the definition into folder and name; the folder is None if the target names none."""
    folder, slash, name = str(target.definition).rpartition("\\")
    return "\\" + folder.strip("\\") if slash else None, name


def is_bare(target: Target) -> bool:
    """Whether the target is a name without its folder."""
    return isinstance(target.definition, str) and split(target)[0] is None


def the_one(target: Target, listed: Iterable[Any], folder_of: Callable[[Any], str]) -> Any:
    """Return the one of exactly this name, without regard to case; raises RefusedError if there is not exactly one."""
    folder, name = split(target)
    exact = [
        one
        for one in listed
        if one.name.casefold() == name.casefold() and (folder is None or folder_of(one).casefold() == folder.casefold())
    ]
    if len(exact) == 1:
        return exact[0]
    noun = _NOUNS[target.kind]
    if not exact:
        problem = f"project {target.project} has no {noun} {target.definition}, or this identity cannot view it"
        backslashes = "\\" + str(target.definition).replace("/", "\\").strip("\\")
        fix = f"write folders with backslashes: {backslashes}" if "/" in name else NOT_FOUND_FIX[target.kind]
        raise RefusedError(problem, fix, kind=ReasonKind.TARGET_NOT_FOUND)
    paths = ", ".join(f"{folder_of(one).rstrip(chr(92))}\\{name}" for one in exact)
    raise RefusedError(
        f"project {target.project} has {len(exact)} {noun}s named {name}",
        f"write the folder too: {paths}",
        kind=ReasonKind.TARGET_AMBIGUOUS,
    )

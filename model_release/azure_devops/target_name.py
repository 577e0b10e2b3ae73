"""Which of the things that Azure DevOps lists is the one that a target names (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from model_release.domain.release_map import Target
from model_release.errors import Refused


def split(target: Target) -> tuple[str | None, str]:
    """The folder, None where the target names none, and the name."""
    folder, slash, name = str(target.definition).rpartition("\\")
    return "\\" + folder.strip("\\") if slash else None, name


def the_one(target: Target, kind: str, listed: Iterable[Any], folder_of: Callable[[Any], str]) -> Any:
    """The one of exactly this name, without regard to case; raises Refused when there is none, or more than one."""
    folder, name = split(target)
    exact = [
        one
        for one in listed
        if one.name.casefold() == name.casefold() and (folder is None or folder_of(one).casefold() == folder.casefold())
    ]
    if len(exact) == 1:
        return exact[0]
    where = f"project {target.project} has"
    if not exact:
        msg = f"{where} no {kind} {target.definition}, or this identity may not view it"
        raise Refused(msg)
    places = ", ".join(f"{folder_of(one).rstrip(chr(92))}\\{name}" for one in exact)
    msg = f"{where} {len(exact)} {kind}s of that name, so write the folder too: {places}"
    raise Refused(msg)

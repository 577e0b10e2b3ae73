"""The name of a release, from the format of its definition.

https://learn.microsoft.com/azure/devops/pipelines/release/#q-how-do-i-manage-the-names-for-new-releases
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime

_TOKEN = re.compile(r"\$\(([^)]+)\)")
_REVISION = re.compile(r"\$\(rev:(r+)\)", re.IGNORECASE)
_DATE = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}


def release_name(pattern: str, values: Mapping[str, str], created: datetime, earlier: Collection[str]) -> str:
    """Replace the tokens of a format; `values` are those of variables, `earlier` the names of earlier releases.

    The revision is the first that no earlier release of the same name has. Unknown tokens stay as they are.
    """
    known = {name.lower(): value for name, value in values.items()}
    filled = _TOKEN.sub(lambda token: _value(token, known, created), pattern)
    revision = _REVISION.search(filled)
    if not revision:
        return filled
    before, after = filled[: revision.start()], filled[revision.end() :]
    alike = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
    used = [int(match[1]) for name in earlier if (match := alike.fullmatch(name))]
    return f"{before}{max(used, default=0) + 1:0{len(revision[1])}}{after}"


def _value(token: re.Match[str], known: Mapping[str, str], created: datetime) -> str:
    name, _, form = token[1].partition(":")
    if name.lower() == "date":
        return created.strftime(re.sub("|".join(_DATE), lambda part: _DATE[part[0]], form or "yyyyMMdd"))
    return known.get(name.lower(), token[0])

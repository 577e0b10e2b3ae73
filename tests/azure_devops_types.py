"""The types of Azure DevOps' REST API in the answers of the local Azure DevOps, as JSON schemas.

`python -m tests.azure_devops_types FILE…` writes azure_devops_types.json again from the API descriptions of
https://github.com/MicrosoftDocs/vsts-rest-api-specs: release.json and pipelines.json of version 7.1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FILE = Path(__file__).with_suffix(".json")
ANSWERS = ("ArtifactSourceTrigger", "ArtifactVersionQueryResult", "Pipeline", "Release", "ReleaseDefinition", "Run")
KEPT = ("$ref", "additionalProperties", "allOf", "enum", "format", "items", "properties", "type")


def types() -> Json:
    """Return each type by its name."""
    return dict(json.loads(FILE.read_text()))


def write(descriptions: Sequence[Path]) -> None:
    """Write the types of the answers, and the types in them."""
    known: Json = {}
    for description in descriptions:
        known |= json.loads(description.read_text(encoding="utf-8-sig"))["definitions"]
    found: Json = {}
    missing = [name for name in ANSWERS if name in known]
    while missing:
        name = missing.pop()
        found[name] = _plain(known[name])
        missing += [one for one in _named(found[name]) if one not in found]
    lines = (f"{json.dumps(name)}: {json.dumps(found[name], separators=(',', ':'))}" for name in sorted(found))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _plain(schema: Any) -> Any:
    """Return a schema without its descriptions."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _plain(value) for key, value in schema.items() if key in KEPT and key != "properties"}
    if "properties" in schema:
        kept["properties"] = {name: _plain(value) for name, value in schema["properties"].items()}
    return kept


def _named(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _named(one)
    elif isinstance(schema, dict):
        if isinstance(named := schema.get("$ref"), str):
            yield named.rpartition("/")[2]
        for one in schema.values():
            yield from _named(one)


if __name__ == "__main__":
    write([Path(name) for name in sys.argv[1:]])

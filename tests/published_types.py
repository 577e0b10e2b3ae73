"""The resource types that Azure publishes and the templates use, and the check of a template against them.

`python -m tests.published_types` writes published_types.json again. It needs two packages that nothing else needs:
msmcp-azure, whose `azmcp` has the types that the Bicep compiler checks with, and azure-mgmt-monitor for the alerts,
which `azmcp` cannot show.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bicep import Bicep, Choice, Declared, Each, Expression, Name, read, resolve

HOME = Path(__file__).parents[1]
FILE = Path(__file__).with_suffix(".json")
TEMPLATES = sorted(HOME.glob("infra/**/*.bicep"))
# Keys of Bicep itself, in every declaration.
BICEP = {"parent", "scope", "dependsOn"}
MONITOR = {
    "Microsoft.Insights/metricAlerts@2018-03-01": ("MetricAlertResource", "_metric_alerts_operations.py"),
    "Microsoft.Insights/scheduledQueryRules@2023-12-01": (
        "ScheduledQueryRuleResource",
        "_scheduled_query_rules_operations.py",
    ),
    "Microsoft.Insights/actionGroups@2023-01-01": ("ActionGroupResource", "_action_groups_operations.py"),
}


def faults(resource: Declared, file: Bicep, published: dict[str, Any]) -> list[str]:
    """Return what in a resource does not have its published type."""
    if resource.kind not in published:
        return [f"{resource.kind} is not a published type"]
    types = published[resource.kind]
    body = resource.value.item if isinstance(resource.value, Each) else resource.value
    if resource.existing:
        return []
    own = {key: value for key, value in body.items() if key not in BICEP}
    return list(_faults(own, "body", types, file, resource.name))


def _faults(found: Any, kind: str, types: dict[str, Any], file: Bicep, path: str) -> Iterator[str]:
    found = resolve(found, file)
    if isinstance(found, Name | Expression) or found is None or kind == "any":
        return
    if isinstance(found, Choice):
        for option in found.options:
            yield from _faults(option, kind, types, file, path)
    elif kind.endswith("[]"):
        items = found if isinstance(found, list) else [found.item] if isinstance(found, Each) else None
        if items is None:
            yield f"{path} is not a list"
        for item in items or []:
            yield from _faults(item, kind.removesuffix("[]"), types, file, path)
    elif kind in types:
        yield from _object_faults(found, types[kind], types, file, path)
    elif not _fits(found, kind):
        yield f"{path}: {found!r} is not {kind}"


def _object_faults(found: Any, kind: dict[str, Any], types: dict[str, Any], file: Bicep, path: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{path} is not an object"
        return
    properties = dict(kind["properties"])
    if "elements" in kind:
        choice = resolve(found.get(kind["discriminator"]), file)
        if choice not in kind["elements"]:
            yield f"{path}.{kind['discriminator']}: {choice!r} is none of {sorted(kind['elements'])}"
            return
        properties |= kind["elements"][choice]
    for key, value in found.items():
        name, flags = properties.get(key, [kind.get("others"), ""])
        if name is None or "ReadOnly" in flags:
            yield f"{path}.{key} cannot be set"
        else:
            yield from _faults(value, name, types, file, f"{path}.{key}")
    yield from (
        f"{path}.{key} is missing" for key, (_, flags) in properties.items() if "Required" in flags and key not in found
    )


def _fits(found: Any, kind: str) -> bool:
    if kind in ("bool", "int", "string"):
        return type(found).__name__ == {"string": "str"}.get(kind, kind)
    options = kind.split(" | ")
    # An open list of words ends in `string`; another word is probably a mistake.
    return found in options


def _azmcp(kind: str) -> dict[str, Any]:
    tool = Path(sysconfig.get_paths()["purelib"]) / "msmcp_azure/bin/azmcp"
    tool.chmod(0o755)
    command = [tool, "bicepschema", "get", "--resource-type", kind.partition("@")[0]]
    environment = os.environ | {"AZURE_MCP_COLLECT_TELEMETRY": "false"}
    answer = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120).stdout
    given = json.loads(answer)["results"]["BicepSchemaResult"]
    resource = next(one for one in given if one["$type"] == "Resource")
    if resource["name"] != kind:
        raise ValueError(f"{kind}: the published version is {resource['name']}")
    objects = {one["name"]: _object(one) for one in given if one["$type"] in ("Object", "DiscriminatedObject")}
    return _reachable(objects | {"body": _object(resource["bodyType"])})


def _object(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"properties": _properties(given.get("properties", given.get("baseProperties", [])))}
    if "additionalPropertiesType" in given:
        made["others"] = given["additionalPropertiesType"]
    if "elements" in given:
        made["discriminator"] = given["discriminator"]
        made["elements"] = {
            next(one["type"] for one in element["properties"] if one["name"] == given["discriminator"]): _properties(
                element["properties"]
            )
            for element in given["elements"]
        }
    return made


def _properties(given: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {one["name"]: [one["type"], one.get("flags", "")] for one in given}


def _reachable(objects: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = ["body"]
    while waiting:
        name = waiting.pop()
        if name in objects and name not in found:
            found[name] = objects[name]
            kinds = [objects[name].get("others", "")]
            for properties in (objects[name]["properties"], *objects[name].get("elements", {}).values()):
                kinds += [kind for kind, flags in properties.values() if "ReadOnly" not in flags]
            waiting += [kind.removesuffix("[]") for kind in kinds]
    return dict(sorted(found.items()))


def _monitor(kind: str) -> dict[str, Any]:
    from azure.mgmt import monitor  # noqa: PLC0415  needed only to write the file
    from azure.mgmt.monitor import models  # noqa: PLC0415

    name, operations = MONITOR[kind]
    text = (Path(monitor.__file__).parent / "operations" / operations).read_text()
    versions = set(re.findall(r'"api-version", "([^"]+)"', text))
    if versions != {kind.partition("@")[2]}:
        raise ValueError(f"{kind}: the published version is {versions}")
    types: dict[str, Any] = {}
    _model(models, name, types)
    body = types.pop(name)
    body["properties"]["name"] = ["string", "Required"]
    body["properties"]["type"] = ["string", "ReadOnly"]
    return types | {"body": body}


def _model(models: Any, name: str, types: dict[str, Any]) -> None:
    """Add a model of the SDK and the models in it, in the form of Bicep's types."""
    model = getattr(models, name)
    properties: dict[str, list[str]] = {}
    inner: dict[str, list[str]] = {}
    types[name] = {"properties": properties}
    for attribute, described in model._attribute_map.items():
        if attribute == "additional_properties":
            continue
        *outer, key = re.split(r"(?<!\\)\.", described["key"])
        rules = model._validation.get(attribute, {})
        flags = ", ".join(
            word for word, rule in (("ReadOnly", "readonly"), ("Required", "required")) if rules.get(rule)
        )
        (inner if outer else properties)[key.replace("\\", "")] = [_kind(models, described["type"], types), flags]
    if inner:
        properties["properties"] = [f"{name}Properties", "Required"]
        types[f"{name}Properties"] = {"properties": inner}
    for discriminator, subtypes in vars(model).get("_subtype_map", {}).items():
        key = model._attribute_map[discriminator]["key"].replace("\\", "")
        elements = {}
        for value, subtype in subtypes.items():
            _model(models, subtype, types)
            elements[value] = types[subtype]["properties"] | {key: ["any", "Required"]}
        types[name] |= {"discriminator": key, "elements": elements}


def _kind(models: Any, kind: str, types: dict[str, Any]) -> str:
    if kind.startswith("["):
        return f"{_kind(models, kind[1:-1], types)}[]"
    simple = {"str": "string", "int": "int", "float": "int", "bool": "bool", "duration": "string", "iso-8601": "string"}
    if kind in simple:
        return simple[kind]
    if not hasattr(getattr(models, kind, None), "_attribute_map"):
        return "any"
    if kind not in types:
        _model(models, kind, types)
    return kind


def main() -> None:
    """Write published_types.json."""
    kinds = sorted({resource.kind for path in TEMPLATES for resource in read(path).resources.values()})
    packages = ("msmcp-azure", "azure-mgmt-monitor")
    published = {
        "from": {package: importlib.metadata.version(package) for package in packages},
        "types": {kind: _monitor(kind) if kind in MONITOR else _azmcp(kind) for kind in kinds},
    }
    FILE.write_text(
        json.dumps(published, indent=None, separators=(",", ":")).replace('},"Microsoft', '},\n"Microsoft') + "\n"
    )
    print(f"{len(kinds)} types, {FILE.stat().st_size:,} bytes")  # noqa: T201  this is a command


if __name__ == "__main__":
    main()

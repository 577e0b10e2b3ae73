"""Placeholders in the texts of a route, such as `{version}` or `{tags.stage}`."""

import re
from collections.abc import Collection, Iterable, Mapping
from string import ascii_lowercase, ascii_uppercase

from model_release.domain.events import ModelRegistered

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KNOWN = re.compile(r"model|version|workspace|registry|asset_id|(?:tags|properties)\..+", re.DOTALL)
_TAG = re.compile(r"(?:tags|properties)\..")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

# Neither `$(…)`, which Azure Pipelines expands also in values of variables, nor quotes and `;`, which end a string in a
# script, nor `##vso[`, which is a command. Every name and version that Azure ML allows matches.
# https://learn.microsoft.com/azure/devops/pipelines/process/variables#understand-variable-syntax
HARMLESS = r"[A-Za-z0-9 ._:/@+,=-]{0,256}"


def check_template(template: str) -> str:
    """Return the template; raises ValueError for an unknown placeholder."""
    for match in _PLACEHOLDER.finditer(template):
        if match[0] not in ("{{", "}}") and not _KNOWN.fullmatch(match[1] or ""):
            raise ValueError(
                f"{match[0]!r} is not a placeholder; use {{model}}, {{version}}, {{workspace}}, {{registry}}, "
                "{asset_id}, {tags.KEY} or {properties.KEY}, and write a literal brace twice"
            )
    return template


def passes_version(templates: Mapping[str, str]) -> bool:
    """Whether one of the templates contains `{version}`, or `{asset_id}`, which ends with it."""
    return any({"version", "asset_id"}.intersection(placeholders(text)) for text in templates.values())


def placeholders(template: str) -> list[str]:
    """List the names of the placeholders."""
    return [match[1] for match in _PLACEHOLDER.finditer(template) if match[1]]


def all_placeholders(templates: Iterable[str]) -> tuple[str, ...]:
    """List the names of the placeholders of several templates, each once."""
    return tuple(dict.fromkeys(name for text in templates for name in placeholders(text)))


def missing_values(templates: Iterable[str], event: ModelRegistered) -> list[str]:
    """List the placeholders for which the model version has no value."""
    return [name for name in all_placeholders(templates) if value_of(event, name) is None]


def render(template: str, event: ModelRegistered) -> str:
    """Replace the placeholders by the values of a model version."""
    return _PLACEHOLDER.sub(lambda m: (value_of(event, m[1]) or "") if m[1] else m[0][0], template)


def render_all(templates: Mapping[str, str], event: ModelRegistered) -> dict[str, str]:
    """Render the values of a mapping."""
    return {name: render(template, event) for name, template in templates.items()}


def faults_of_allow(allow: Mapping[str, str], templates: Collection[str]) -> list[str]:
    """List the faults of the regular expressions that a route has for placeholders; without templates, any is used."""
    used = {lower(name) for name in all_placeholders(templates)} if templates else {*map(lower, allow)}
    faults = [f"{name!r} is not tags.KEY or properties.KEY" for name in allow if not _TAG.match(name)]
    faults += [
        f"no variable, parameter or description of the route uses {{{name}}}"
        for name in allow
        if _TAG.match(name) and lower(name) not in used
    ]
    return faults + [f"{regex!r} of {name} is not a regular expression" for name, regex in allow.items() if _bad(regex)]


def _bad(regex: str) -> bool:
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError):
        return True
    return False


def lower(key: str) -> str:
    """Return a key for a comparison without regard to ASCII case; other letters differ, such as `K` and the kelvin."""
    return key.translate(_LOWER)


def tag_or_property(values: Mapping[str, str], key: str) -> str | None:
    """Look up a tag or property without regard to the ASCII case of its key."""
    # Events of Azure ML have been seen to change the case of keys.
    lowered = {lower(name): value for name, value in values.items()}
    return values.get(key, lowered.get(lower(key)))


def asset_id(event: ModelRegistered) -> str:
    """Return the text by which the Azure ML CLI finds the version, from any workspace."""
    source, asset = event.workspace, f"models/{event.model}/versions/{event.version}"
    if source.is_registry:
        return f"azureml://registries/{source.name}/{asset}"
    # The CLI regards the case of the words between the names.
    _, _, subscription, _, group, *_ = source.id.split("/")
    provider = "providers/Microsoft.MachineLearningServices"
    return f"azureml:/subscriptions/{subscription}/resourceGroups/{group}/{provider}/workspaces/{source.name}/{asset}"


def value_of(event: ModelRegistered, name: str) -> str | None:
    """Return the value of a placeholder, None if the model version has no such tag or property."""
    source, _, key = name.partition(".")
    if key:
        return tag_or_property(event.tags if source == "tags" else event.properties, key)
    if name in ("workspace", "registry"):
        return event.workspace.name if event.workspace.is_registry == (name == "registry") else None
    if name == "asset_id":
        return asset_id(event)
    return event.model if name == "model" else event.version

"""Placeholders in the texts of a route, such as `{version}` or `{tags.stage}`."""

import re
from collections.abc import Iterable, Mapping

from model_release.domain.events import ModelRegistered

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KNOWN = re.compile(r"model|version|workspace|(?:tags|properties)\..+", re.DOTALL)


def check_template(template: str) -> str:
    """Return the template; raises ValueError for an unknown placeholder."""
    for match in _PLACEHOLDER.finditer(template):
        if match[0] not in ("{{", "}}") and not _KNOWN.fullmatch(match[1] or ""):
            raise ValueError(
                f"{match[0]!r} is not a placeholder; use {{model}}, {{version}}, {{workspace}}, {{tags.KEY}} or "
                "{properties.KEY}, and write a literal brace twice"
            )
    return template


def passes_version(templates: Mapping[str, str]) -> bool:
    """Whether one of the templates contains `{version}`."""
    return any("version" in placeholders(text) for text in templates.values())


def placeholders(template: str) -> list[str]:
    """List the names of the placeholders."""
    return [match[1] for match in _PLACEHOLDER.finditer(template) if match[1]]


def missing_values(templates: Iterable[str], event: ModelRegistered) -> list[str]:
    """List the placeholders for which the model version has no value."""
    return [name for text in templates for name in placeholders(text) if _value(event, name) is None]


def render(template: str, event: ModelRegistered) -> str:
    """Replace the placeholders by the values of a model version."""
    return _PLACEHOLDER.sub(lambda m: (_value(event, m[1]) or "") if m[1] else m[0][0], template)


def render_all(templates: Mapping[str, str], event: ModelRegistered) -> dict[str, str]:
    """Render the values of a mapping."""
    return {name: render(template, event) for name, template in templates.items()}


def tag_or_property(values: Mapping[str, str], key: str) -> str | None:
    """Look up a tag or property without regard to the case of its key."""
    # Events of Azure ML have been seen to change the case of keys.
    folded = {name.casefold(): value for name, value in values.items()}
    return values.get(key, folded.get(key.casefold()))


def _value(event: ModelRegistered, name: str) -> str | None:
    source, _, key = name.partition(".")
    if key:
        return tag_or_property(event.tags if source == "tags" else event.properties, key)
    return {"model": event.model, "version": event.version, "workspace": event.workspace.name}[name]

"""Read the YAML of a release map, and report its faults by path, with each value as the file writes it (pure)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from model_release.text import shorten

# pydantic adds the branches of a union to the path of a fault.
_UNIONS = ("definition", "pipeline", "version")
_BRANCHES = re.compile(r"constrained-.*|function-.*|int|str")
_EXPECTED = "Input should be "
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class MapFileError(Exception):
    """The text is not YAML that a map can be; the message names the problem."""


@dataclass(frozen=True)
class MapFile:
    """The content of a file, and by path, such as `routes[2].version`, its values as the file writes them."""

    content: Any
    texts: Mapping[str, str]

    def misread(self) -> dict[str, str]:
        """Return the problem of each number that YAML reads otherwise than written, such as the octal `010`."""
        return {
            path: f"{text} means {number} in YAML; write {number}, or write '{text}' in quotes"
            for path, number in _values(self.content, "")
            if type(number) is int and str(number) != (text := self.texts.get(path, str(number)))
        }

    def problems(self, error: ValidationError) -> dict[str, str]:
        """Return the problem of each fault that pydantic found."""
        # Each branch of a union complains; the last one, text, says what to write, unless a number is out of bounds.
        bounds = ("greater_than", "greater_than_equal", "less_than")
        complaints = sorted(error.errors(), key=lambda fault: fault["type"] in bounds)
        return {path: _problem(fault, self.texts.get(path)) for fault in complaints for path in [_path(fault["loc"])]}


def read(text: str) -> MapFile:
    """Read the file; raises MapFileError."""
    try:
        loader = _Loader(text)
    # It refuses control characters at once.
    except yaml.YAMLError as error:
        raise MapFileError(" ".join(str(error).split())) from error
    try:
        node = loader.get_single_node()
        content = loader.construct_document(node) if node else None
        return MapFile(content, dict(_scalars(node, "")))
    except yaml.YAMLError as error:
        raise MapFileError(" ".join(str(error).split())) from error
    except ValueError as error:  # a number with thousands of digits
        raise MapFileError("a number cannot be read; write it in quotes") from error
    except RecursionError as error:
        raise MapFileError("lists or mappings are nested too deeply, or contain themselves") from error
    finally:
        loader.dispose()


@dataclass(frozen=True)
class _Date:
    """A date, which is a fault wherever it occurs; it need not exist."""

    text: str


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key, of which YAML would silently use the last one, and reads each key as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  yaml's
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark)
            seen.add(key.value)
            key.tag = _MERGE if key.tag == _MERGE else _TEXT
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: _Date(node.value))
_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def _scalars(node: yaml.Node | None, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.ScalarNode):
        yield path, node.value
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _scalars(item, f"{path}[{number}]")
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, _below(path, getattr(key, "value", "")))


def _values(content: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list):
        for number, item in enumerate(content):
            yield from _values(item, f"{path}[{number}]")
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _values(value, _below(path, key))
    else:
        yield path, content


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (before in _UNIONS and _BRANCHES.fullmatch(part)):
            path += f".{part}" if path else part
    return path or "the file"


def _problem(fault: Any, text: str | None) -> str:
    """Return the problem of pydantic's fault; `text` is the value as the file writes it, None if it is not a scalar."""
    kind, message = fault["type"], fault["msg"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "string_type" and text is not None:
        return f"{shorten(text) or 'nothing'} must be text; write it in quotes"
    if str(message).startswith(_EXPECTED):
        found = shorten(fault["input"]) if text is None else shorten(text)
        return f"found {found!r}, expected {message.removeprefix(_EXPECTED)}"
    return str(message).removeprefix("Value error, ")

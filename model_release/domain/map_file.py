"""Read the YAML of a release map, and compare it with a JSON schema: every fault with its path (pure)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from model_release.text import shorten

Json = Mapping[str, Any]

# What the reader follows of JSON schema; it ignores what is for editors.
KEYWORDS = {
    *("$ref", "type", "enum", "const", "minimum", "exclusiveMaximum", "minLength", "minItems", "format"),
    *("properties", "required", "additionalProperties", "propertyNames", "items", "oneOf"),
}
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
# The types of JSON schema in Python, and for people.
_TYPES: Mapping[str, tuple[type, str]] = {
    "object": (dict, "a mapping"),
    "array": (list, "a list"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "string": (str, "text"),
    "null": (type(None), "nothing"),
}


class MapFileError(Exception):
    """The text is not YAML that a map can be; the message names the problem."""


class KeyFaultError(ValueError):
    """A value under one key of a mapping contradicts the others."""

    def __init__(self, problem: str, key: str) -> None:
        super().__init__(problem)
        self.key = key


@dataclass(frozen=True)
class MapFile:
    """The content of a file, and by path, such as `routes[2].version`, its values as the file writes them."""

    content: Any
    texts: Mapping[str, str] = field(default_factory=dict)

    def misread(self) -> dict[str, str]:
        """Return the problem of each number that YAML reads otherwise than written, such as the octal `010`."""
        return {
            path: f"{text} means {number} in YAML; write {number}, or write '{text}' in quotes"
            for path, number in _values(self.content, "")
            if type(number) is int and str(number) != (text := self.texts.get(path, str(number)))
        }


class Schema(NamedTuple):
    """A JSON schema, and the check of each of its formats, which raises ValueError with the problem.

    https://json-schema.org/draft/2020-12/json-schema-validation
    """

    content: Json
    formats: Mapping[str, Callable[[Any], object]]

    def faults(self, file: MapFile) -> dict[str, str]:
        """Return the problem at each path of a file, in the order of the schema."""
        found = self._faults(file.content, self.content, "", file.texts)
        return file.misread() | {path or "the file": problem for path, problem in found}

    def _faults(self, value: Any, rule: Json, path: str, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        rule = self.content["$defs"][rule["$ref"].rpartition("/")[2]] if "$ref" in rule else rule
        problem, below = _problem(value, rule, texts.get(path)), []
        if not problem and isinstance(value, list):
            below = [self._faults(item, rule["items"], f"{path}[{n}]", texts) for n, item in enumerate(value)]
        elif not problem and isinstance(value, dict):
            below = [self._of_keys(value, rule, path, texts), _not_one_of(value, rule, path)]
        faults = [fault for part in below for fault in part]
        # A check of several keys runs whatever else is wrong with them.
        if "format" in rule and value is not None and not (problem or (faults and "properties" not in rule)):
            try:
                self.formats[rule["format"]](value)
            except KeyFaultError as error:
                faults.append((_below(path, error.key), str(error)))
            except ValueError as error:
                problem = str(error)
        yield from [(path, problem)] if problem else faults

    def _of_keys(self, value: Json, rule: Json, path: str, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        known, others, names = rule.get("properties", {}), rule["additionalProperties"], rule.get("propertyNames")
        for key in known:
            if key in value:
                yield from self._faults(value[key], known[key], _below(path, key), texts)
            elif key in rule.get("required", ()):
                yield _below(path, key), "missing"
        for key in value:
            if key not in known and others is False:
                yield _below(path, key), "unknown key"
            elif key not in known:
                in_key = list(self._faults(key, names, _below(path, key), {})) if names else []
                yield from in_key or self._faults(value[key], others, _below(path, key), texts)


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


class _Date(NamedTuple):
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


def _problem(value: Any, rule: Json, text: str | None) -> str:
    """Compare a value, without what is in it, with a rule; `text` is the value as the file writes it, if it is one."""
    types = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    allowed = rule.get("enum", [rule["const"]] if "const" in rule else [])
    title = rule.get("title", "").lower()
    is_one = any(type(value) is _TYPES[one][0] for one in types)
    if not (is_one or allowed) and "string" in types and text:
        return f"{shorten(text)} must be text; write it in quotes"
    found = "nothing" if value is None else repr(shorten(value if text is None else text))
    if isinstance(value, str) and "string" not in types:
        found = f"the text {found}"
    if allowed and not (is_one and value in allowed):
        return f"found {found}, expected {' or '.join(map(repr, allowed))}"
    if not is_one:
        expected = " or ".join(_TYPES[one][1] for one in types if one != "null")
        return f"found {found}, expected " + (f"a valid {title}, which is {expected}" if title else expected)
    expected = _bound(value, rule)
    return f"found {found}, expected {expected}" if expected else ""


def _bound(value: Any, rule: Json) -> str:
    """Return the bound of a rule that a value exceeds, in words."""
    if isinstance(value, str | list):
        least = rule.get("minLength" if isinstance(value, str) else "minItems", 0)
        return f"at least {least} {'character' if isinstance(value, str) else 'item'}" if len(value) < least else ""
    if isinstance(value, int) and value < rule.get("minimum", value):
        return f"{rule['minimum']} or more"
    if isinstance(value, int) and value >= rule.get("exclusiveMaximum", value + 1):
        return f"less than {rule['exclusiveMaximum']}"
    return ""


def _not_one_of(value: Json, rule: Json, path: str) -> Iterator[tuple[str, str]]:
    """Compare the keys of a mapping with `oneOf`, each of whose rules requires one key."""
    keys = [one["required"][0] for one in rule.get("oneOf", ())]
    if keys and sum(key in value for key in keys) != 1:
        names = " and ".join(f"`{key}`" for key in keys)
        yield _below(path, keys[-1]), f"a {rule['title'].lower()} needs exactly one of {names}"

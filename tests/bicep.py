"""Reads Bicep files: what they declare, and the values that stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_parser = Parser(Language(tree_sitter_bicep.language()))


@dataclass(frozen=True)
class Name:
    """A name that is declared elsewhere."""

    text: str


@dataclass(frozen=True)
class Expression:
    """A value that only Azure knows."""

    text: str


@dataclass(frozen=True)
class Choice:
    """One of several values, or all of them together (`concat`, `union`)."""

    options: tuple[Any, ...]


@dataclass(frozen=True)
class Each:
    """A list with one such item for each of another list."""

    item: Any


@dataclass(frozen=True)
class Declared:
    """A parameter, variable, output, resource or module; `kind` is its type, or the path of a module."""

    name: str
    kind: str
    value: Any
    description: str = ""
    condition: str = ""
    existing: bool = False


@dataclass(frozen=True)
class Bicep:
    """One file."""

    path: Path
    parameters: dict[str, Declared] = field(default_factory=dict)
    variables: dict[str, Declared] = field(default_factory=dict)
    resources: dict[str, Declared] = field(default_factory=dict)
    modules: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Declared] = field(default_factory=dict)
    undeclared: frozenset[str] = frozenset()


def read(path: Path) -> Bicep:
    """Read a file; raises ValueError where it is no Bicep."""
    root = _parser.parse(path.read_bytes()).root_node
    if root.has_error:
        msg = f"{path.name} cannot be parsed near line {_first_error(root).start_point.row + 1}"
        raise ValueError(msg)
    file = Bicep(path)
    description = ""
    for node in root.named_children:
        if node.type == "decorators":
            description = _description(node)
        elif (home := _home(file, node)) is not None:
            one = _declared(node, description)
            home[one.name] = one
            description = ""
    known = {name for home in (file.parameters, file.variables, file.resources, file.modules) for name in home}
    return Bicep(**vars(file) | {"undeclared": frozenset(_used(root) - known)})


def _first_error(node: Node) -> Node:
    inner = next((child for child in node.children if child.has_error), None)
    return _first_error(inner) if inner else node


def _home(file: Bicep, node: Node) -> dict[str, Declared] | None:
    homes = {
        "parameter_declaration": file.parameters,
        "variable_declaration": file.variables,
        "resource_declaration": file.resources,
        "module_declaration": file.modules,
        "output_declaration": file.outputs,
    }
    return homes.get(node.type)


def _description(decorators: Node) -> str:
    for decorator in decorators.named_children:
        call = decorator.named_children[0]
        if _text(call.named_children[0]) == "description":
            return str(value(call.named_children[1].named_children[0]))
    return ""


def _declared(node: Node, description: str) -> Declared:
    name, *rest = node.named_children
    if node.type == "variable_declaration":
        return Declared(_text(name), "", value(rest[0]))
    kind = str(value(rest[0])) if rest[0].type == "string" else _text(rest[0])
    body = rest[1] if len(rest) > 1 else None
    condition = ""
    if body is not None and body.type == "if_statement":
        condition, body = _text(body.named_children[0]), body.named_children[-1]
    return Declared(
        _text(name),
        kind,
        None if body is None else value(body),
        description,
        condition,
        existing=any(child.type == "existing" for child in node.children),
    )


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def value(node: Node) -> Any:
    """The value of a node, as far as it can be known without Azure."""
    children = node.named_children
    match node.type:
        case "string":
            return _string(node)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case "identifier":
            return Name(_text(node))
        case "array":
            return [value(child) for child in children]
        case "object":
            return {_key(pair.named_children[0]): value(pair.named_children[1]) for pair in children}
        case "for_statement" | "lambda_expression":
            return Each(value(children[-1]))
        case "ternary_expression":
            return Choice((value(children[1]), value(children[2])))
        case "call_expression" if _text(children[0]) in ("concat", "union"):
            return Choice(tuple(value(child) for child in children[1].named_children))
        case "call_expression" if _text(children[0]) == "map":
            return value(children[1].named_children[-1])
    return Expression(_text(node))


def _string(node: Node) -> Any:
    if any(child.type == "interpolation" for child in node.named_children):
        return Expression(_text(node)[1:-1])
    return "".join(
        _text(child)[1:] if child.type == "escape_sequence" else _text(child) for child in node.named_children
    )


def _key(node: Node) -> str:
    key = value(node)
    return key.text if isinstance(key, Name | Expression) else key


def _used(node: Node, local: frozenset[str] = frozenset()) -> set[str]:
    """Return the names that are used and bound to no loop or lambda."""
    children = node.named_children
    if node.type == "identifier":
        return {_text(node)} - local
    if node.type == "decorators":
        return set()
    if node.type.endswith("_declaration"):
        children = children[1:]
    elif node.type == "object_property":
        children = children[1:] if children[0].type == "identifier" else children
    elif node.type == "call_expression":
        children = children[1:]
    elif node.type == "lambda_expression":
        local |= {_text(children[0])}
    elif node.type == "for_statement":
        bound = children[0].named_children or [children[0]]
        local |= {_text(name) for name in bound}
        children = children[1:]
    return set().union(*(_used(child, local) for child in children))


def resolve(found: Any, file: Bicep) -> Any:
    """Put the values of variables in place of their names."""
    if isinstance(found, Name) and found.text in file.variables:
        return resolve(file.variables[found.text].value, file)
    return found


def leaves(found: Any, file: Bicep) -> Iterator[Any]:
    """All values that stand in a value, its objects' keys left out."""
    found = resolve(found, file)
    if isinstance(found, dict):
        parts: list[Any] = list(found.values())
    elif isinstance(found, list):
        parts = found
    elif isinstance(found, Choice):
        parts = list(found.options)
    elif isinstance(found, Each):
        parts = [found.item]
    else:
        yield found
        return
    for part in parts:
        yield from leaves(part, file)


def at(found: Any, file: Bicep, *path: str) -> Any:
    """Follow keys into an object, through loops and variables."""
    found = resolve(found, file)
    if isinstance(found, Each):
        found = resolve(found.item, file)
    if not path:
        return found
    return at(found[path[0]], file, *path[1:])

"""Read Bicep files: their declarations, and the values in them."""

from __future__ import annotations

from collections.abc import Callable
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
    """A list with one item of this form for each item of another list."""

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
    """Read a file; raises ValueError if it is not Bicep."""
    root = _parser.parse(path.read_bytes()).root_node
    if root.has_error:
        raise ValueError(f"{path.name} cannot be parsed near line {_first_error(root).start_point.row + 1}")
    file = Bicep(path)
    description = ""
    for node in root.named_children:
        if node.type == "decorators":
            description = _description(node)
        elif (declarations := _declarations(file, node)) is not None:
            one = _declared(node, description)
            declarations[one.name] = one
            description = ""
    declared = (file.parameters, file.variables, file.resources, file.modules)
    known = {name for declarations in declared for name in declarations}
    return Bicep(**vars(file) | {"undeclared": frozenset(_used(root) - known)})


def _first_error(node: Node) -> Node:
    inner = next((child for child in node.children if child.has_error), None)
    return _first_error(inner) if inner else node


def _declarations(file: Bicep, node: Node) -> dict[str, Declared] | None:
    by_type = {
        "parameter_declaration": file.parameters,
        "variable_declaration": file.variables,
        "resource_declaration": file.resources,
        "module_declaration": file.modules,
        "output_declaration": file.outputs,
    }
    return by_type.get(node.type)


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
    """Return the value of a node as far as it is known without Azure."""
    read_it = _READERS.get(node.type)
    return read_it(node) if read_it else Expression(_text(node))


def _call(node: Node) -> Any:
    name, arguments = node.named_children
    values = [value(argument) for argument in arguments.named_children]
    if _text(name) in ("concat", "union"):
        return Choice(tuple(values))
    return values[-1] if _text(name) == "map" else Expression(_text(node))


def _string(node: Node) -> Any:
    if any(child.type == "interpolation" for child in node.named_children):
        return Expression(_text(node)[1:-1])
    return "".join(
        _text(child)[1:] if child.type == "escape_sequence" else _text(child) for child in node.named_children
    )


def _key(node: Node) -> str:
    key = value(node)
    return key.text if isinstance(key, Name | Expression) else key


_READERS: dict[str, Callable[[Node], Any]] = {
    "string": _string,
    "number": lambda node: int(_text(node)),
    "boolean": lambda node: _text(node) == "true",
    "null": lambda _: None,
    "identifier": lambda node: Name(_text(node)),
    "array": lambda node: [value(child) for child in node.named_children],
    "object": lambda node: {
        _key(pair.named_children[0]): value(pair.named_children[1])
        for pair in node.named_children
        if pair.type != "comment"
    },
    "for_statement": lambda node: Each(value(node.named_children[-1])),
    "lambda_expression": lambda node: Each(value(node.named_children[-1])),
    "ternary_expression": lambda node: Choice(tuple(value(child) for child in node.named_children[1:])),
    "call_expression": _call,
}


def _used(node: Node, local: frozenset[str] = frozenset()) -> set[str]:
    """Return the names that are used and not bound by a loop or lambda."""
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
    """Return the value of a variable instead of its name."""
    if isinstance(found, Name) and found.text in file.variables:
        return resolve(file.variables[found.text].value, file)
    return found


def value_text(found: Any) -> str:
    """Return a value as text; several are joined by `or`."""
    if isinstance(found, Choice):
        return " or ".join(value_text(option) for option in found.options)
    return found.text if isinstance(found, Name | Expression) else str(found)


def at(found: Any, file: Bicep, *path: str) -> Any:
    """Follow keys into an object, through loops and variables."""
    found = resolve(found, file)
    if isinstance(found, Each):
        found = resolve(found.item, file)
    if not path:
        return found
    return at(found[path[0]], file, *path[1:])

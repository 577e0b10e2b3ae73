"""All single changes of a module: comparisons, conditions, constants, returned values, statements, arguments.

Docstrings, annotations and decorators are not changed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
# With these, only the border moves.
_NEIGHBOR = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
}
_FUNCTIONS = {"min": "max", "max": "min"}
# The order of their arguments means nothing.
_WITHOUT_ORDER = {*_FUNCTIONS, "suppress"}
_NOT_CHANGED = ("annotation", "returns", "decorator_list", "type_comment")
_SIMPLE = (ast.AugAssign, ast.Delete, ast.Raise, ast.Assert, ast.Continue, ast.Break)
_HAVE_A_TEST = (ast.If, ast.While, ast.IfExp, ast.Assert)
_BODIES = (ast.Module, ast.ClassDef, ast.FunctionDef)


@dataclass(frozen=True)
class Change:
    """One change of a module: the statement before and after, and the compiled module.

    `in_body`: it runs only if the function is called.
    """

    function: str
    in_body: bool
    line: int
    before: str
    after: str
    code: CodeType

    @property
    def name(self) -> tuple[str, str, str]:
        """The change without its line, which moves."""
        return self.function, self.before, self.after


@dataclass(frozen=True)
class _Place:
    """Where a node is in the tree, with the nearest statement and the name of the function around it."""

    parent: ast.AST
    field: str
    index: int | None
    statement: ast.stmt
    function: str
    in_body: bool

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def changes(path: Path) -> Iterator[Change]:
    """Build all changes of a module, each once."""
    tree = ast.parse(path.read_text())
    for place, line, before, after in _made(tree):
        code = compile(ast.fix_missing_locations(tree), str(path), "exec")
        yield Change(place.function, place.in_body, line, before, after, code)


def names(path: Path) -> set[tuple[str, str, str]]:
    """Return the names of all changes of a module, which compiles none of them."""
    return {(place.function, before, after) for place, _, before, after in _made(ast.parse(path.read_text()))}


def _made(tree: ast.Module) -> Iterator[tuple[_Place, int, str, str]]:
    """Make each change in the tree, and undo it afterwards."""
    nodes = list(_nodes(tree))
    seen = {place.statement: {ast.unparse(place.statement)} for _, place in nodes}
    for node, place in nodes:
        before = ast.unparse(place.statement)
        for changed in _changed(node):
            place.put(ast.copy_location(changed, node))
            after = ast.unparse(changed if node is place.statement else place.statement)
            if after not in seen[place.statement]:
                seen[place.statement].add(after)
                yield place, node.lineno, *_different(before, after)
            place.put(node)


def _nodes(
    parent: ast.AST, statement: ast.stmt | None = None, function: str = "", *, in_body: bool = False
) -> Iterator[tuple[ast.AST, _Place]]:
    for field, value in ast.iter_fields(parent):
        if field in _NOT_CHANGED:
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or _is_docstring(node, parent, field, index):
                continue
            nearest = node if isinstance(node, ast.stmt) else statement
            called = in_body or (isinstance(parent, ast.FunctionDef) and field == "body")
            if nearest is not None and hasattr(node, "lineno"):
                place = index if isinstance(value, list) else None
                yield node, _Place(parent, field, place, nearest, function, called)
            yield from _nodes(node, nearest, name_in(function, node), in_body=called)


def name_in(around: str, node: ast.AST) -> str:
    """Return the name of a class or function such as `Claims.insert`, of another node the name around it."""
    return f"{around}.{node.name}".lstrip(".") if isinstance(node, ast.ClassDef | ast.FunctionDef) else around


def _is_docstring(node: ast.AST, parent: ast.AST, field: str, index: int) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text and isinstance(parent, _BODIES) and field == "body" and index == 0


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Build what may replace a node."""
    if isinstance(node, ast.stmt):
        yield from _changed_statement(node)
    if isinstance(node, _HAVE_A_TEST) and not isinstance(node.test, ast.Constant):
        yield _with(node, test=_negated(node.test))
    for generator in getattr(node, "generators", ()):
        for number, condition in enumerate(generator.ifs):
            ifs = [*generator.ifs[:number], _negated(condition), *generator.ifs[number + 1 :]]
            others = [_with(one, ifs=ifs) if one is generator else one for one in node.generators]
            yield _with(node, generators=others)
    if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp | ast.UnaryOp):
        yield from _changed_operation(node)
    elif isinstance(node, ast.Constant):
        yield from _changed_constant(node)
    elif isinstance(node, ast.Name) and node.id in _FUNCTIONS:
        yield ast.Name(_FUNCTIONS[node.id], node.ctx)
    elif isinstance(node, ast.Call) and _has_an_order(node):
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])


def _changed_statement(node: ast.stmt) -> Iterator[ast.AST]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if (
        isinstance(node, (*_SIMPLE, ast.Expr))
        or (isinstance(node, ast.Return) and node.value is None)
        or (
            isinstance(node, ast.Assign | ast.AnnAssign)
            and any(isinstance(one, ast.Attribute | ast.Subscript) for one in targets)
        )
    ):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


def _changed_operation(node: ast.Compare | ast.BoolOp | ast.BinOp | ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            for other in (_OPPOSITE[type(operator)], _NEIGHBOR.get(type(operator))):
                if other:
                    yield _with(node, ops=[*node.ops[:number], other(), *node.ops[number + 1 :]])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for number in range(len(node.values)):
            left = [*node.values[:number], *node.values[number + 1 :]]
            yield left[0] if len(left) == 1 else _with(node, values=left)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield _with(node, op=_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def _changed_constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node.value, str):
        yield ast.Constant(f"{node.value}~")


def _has_an_order(call: ast.Call) -> bool:
    swappable = len(call.args) > 1 and not any(isinstance(one, ast.Starred) for one in call.args[:2])
    return swappable and not (isinstance(call.func, ast.Name) and call.func.id in _WITHOUT_ORDER)


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _with(test, ops=[_OPPOSITE[type(test.ops[0])]()])
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    return ast.UnaryOp(ast.Not(), test)


def _with(node: ast.AST, **values: object) -> ast.AST:
    changed = copy(node)
    for name, value in values.items():
        setattr(changed, name, value)
    return changed


def _different(before: str, after: str) -> tuple[str, str]:
    """Return the first line that differs."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), (before, after))
    return one.strip(), other.strip()

"""Small wrong changes of a source file, found over its syntax tree and made in its text.

Each operator looks at one node and yields parts of the source, as nodes or spans of bytes, and what replaces them;
everything else stays as it is. What computes nothing is left out (`Source.counts`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

from validation.source_mutation.source import Source, is_silent, name_of

Change: TypeAlias = Iterator[tuple[ast.AST | tuple[int, int], str]]

OPERATORS: dict[str, Callable[[Source, ast.AST], Change]] = {}
ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
AUGMENTED = {ast.Add: ("+=", "-="), ast.Sub: ("-=", "+="), ast.Mult: ("*=", "/="), ast.Div: ("/=", "*=")}
STRICTNESS = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")}
NEGATION = {
    ast.Lt: ("<", ">="), ast.LtE: ("<=", ">"), ast.Gt: (">", "<="), ast.GtE: (">=", "<"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
TWINS = [
    ("max", "min"), ("maximum", "minimum"), ("argmax", "argmin"), ("sin", "cos"), ("sinh", "cosh"), ("floor", "ceil"),
    ("sum", "max"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("any", "all"), ("exp", "expm1"), ("log", "log1p"),
    ("sqrt", "square"), ("fadd", "fsub"), ("fmul", "fadd"), ("add", "sub"),
]  # fmt: skip
FUNCTION_TWIN = {a: b for pair in TWINS for a, b in (pair, pair[::-1])}
# Order of arguments that means nothing, or that only words depend on.
UNORDERED = "max min maximum minimum add multiply hypot gcd isinstance issubclass hasattr".split()
UNSEEN = {None, "strict", "stacklevel", "maxsize"}  # keywords that guard or tune, and the two stars


def _operator(name: str) -> Callable[[Callable[[Source, ast.AST], Change]], Callable[[Source, ast.AST], Change]]:
    def register(function: Callable[[Source, ast.AST], Change]) -> Callable[[Source, ast.AST], Change]:
        OPERATORS[name] = function
        return function

    return register


@_operator("arithmetic")
def _arithmetic(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_words(node):
        old, new = ARITHMETIC[type(node.op)]
        yield source.between(node.left, node.right, old), new


@_operator("dropped term")
def _dropped_term(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and not _is_words(node):
        yield node, f"({source.text(node.left)})"
        if isinstance(node.op, ast.Add):
            yield node, f"({source.text(node.right)})"


@_operator("dropped factor")
def _dropped_factor(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.Pow | ast.FloorDiv | ast.Mod):
        if not _is_words(node):
            yield node, f"({source.text(node.left)})"


@_operator("swapped operands")
def _swapped_operands(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult | ast.Sub | ast.Div | ast.Pow):
        token = {ast.MatMult: "@", ast.Sub: "-", ast.Div: "/", ast.Pow: "**"}[type(node.op)]
        left, right = source.text(node.left), source.text(node.right)
        if left != right:
            yield node, f"(({right}) {token} ({left}))"


@_operator("sign")
def _sign(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not _is_subscripted(source, node):
        yield node, f"({source.text(node.operand)})"
    if isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.BinOp) and not _is_words(node.value):
        yield node.value, f"-({source.text(node.value)})"


@_operator("strictness")
def _strictness(source: Source, node: ast.AST) -> Change:
    yield from _compared(source, node, STRICTNESS)


@_operator("negation")
def _negation(source: Source, node: ast.AST) -> Change:
    yield from _compared(source, node, NEGATION)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({source.text(node.operand)})"
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare):
        yield node.test, f"not ({source.text(node.test)})"


def _compared(source: Source, node: ast.AST, table: dict[type[ast.cmpop], tuple[str, str]]) -> Change:
    if isinstance(node, ast.Compare):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            if type(op) in table:
                old, new = table[type(op)]
                yield source.between(left, right, old), new


@_operator("boolean")
def _boolean(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        yield source.between(node.values[0], node.values[1], old), new
        for i in range(len(node.values)):
            others = [source.text(value) for j, value in enumerate(node.values) if j != i]
            yield node, f"({f' {old} '.join(f'({other})' for other in others)})"


@_operator("constant")
def _constant(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Constant) and not _is_subscripted(source, node):
        value = node.value
        if isinstance(value, bool):
            yield node, str(not value)
        elif isinstance(value, int):
            yield node, {0: "1", 1: "2"}.get(value, str(value + 1))
            if value > 1:
                yield node, str(value - 1)
        elif isinstance(value, float):
            yield node, repr(2.0 * value) if value else "1.0"
            if value:
                yield node, repr(value / 2.0)


@_operator("index")
def _index(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Constant) and type(node.value) is int and _is_subscripted(source, node):
        yield node, str(node.value + 1)
        if node.value:
            yield node, str(node.value - 1)


@_operator("transposed")
def _transposed(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node, source.text(node.value)
    if isinstance(node, ast.Call) and name_of(node.func) in ("transposed", "swapaxes", "transpose", "moveaxis"):
        on_array = isinstance(node.func, ast.Attribute) and name_of(node.func.value) != "np"
        if on_array or node.args:
            yield node, source.text(node.func.value if on_array else node.args[0])  # type: ignore[attr-defined]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        for side in (node.left, node.right):
            yield side, f"({source.text(side)}).swapaxes(-1, -2)"


@_operator("dropped statement")
def _dropped_statement(source: Source, node: ast.AST) -> Change:
    words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    stored = isinstance(node, ast.Assign) and all(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets)
    if (isinstance(node, ast.Expr) and not words and not is_silent(node)) or isinstance(node, ast.AugAssign) or stored:
        yield node, "pass"


@_operator("augmented")
def _augmented(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.AugAssign) and type(node.op) in AUGMENTED:
        old, new = AUGMENTED[type(node.op)]
        place = source.between(node.target, node.value, old)
        yield place, new
        yield place, "="


@_operator("dropped guard")
def _dropped_guard(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
        yield node.test, "False"


@_operator("dropped branch")
def _dropped_branch(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.IfExp):
        yield node, f"({source.text(node.body)})"
        yield node, f"({source.text(node.orelse)})"
    if isinstance(node, ast.If) and not isinstance(node.body[-1], ast.Raise):
        yield node.test, "False"
        yield node.test, "True"
    if isinstance(node, ast.comprehension):
        for condition in node.ifs:
            yield condition, "True"


@_operator("swapped arguments")
def _swapped_arguments(source: Source, node: ast.AST) -> Change:
    if (
        isinstance(node, ast.Call)
        and name_of(node.func) not in UNORDERED
        and not name_of(node.func).startswith("check_")
    ):
        args = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
        for a, b in pairwise(args):
            if not isinstance(a, ast.Constant) and not isinstance(b, ast.Constant) and ast.dump(a) != ast.dump(b):
                middle = source.data[source.span(a)[1] : source.span(b)[0]].decode()
                yield (source.span(a)[0], source.span(b)[1]), source.text(b) + middle + source.text(a)


@_operator("returned input")
def _returned_input(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
        for arg in node.value.args[:2]:
            if isinstance(arg, ast.Name):
                yield node.value, arg.id


@_operator("dropped keyword")
def _dropped_keyword(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Call) and len(node.keywords) == 1 and node.args and node.keywords[0].arg not in UNSEEN:
        keyword = node.keywords[0]
        yield (source.span(node.args[-1])[1], source.span(keyword)[1]), ""


@_operator("function")
def _function(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Call) and name_of(node.func) in FUNCTION_TWIN:
        end = source.span(node.func)[1]
        name = name_of(node.func)
        yield (end - len(name), end), FUNCTION_TWIN[name]


@_operator("order")
def _order(source: Source, node: ast.AST) -> Change:
    if isinstance(node, ast.Call) and name_of(node.func) in ("sorted", "reversed") and isinstance(node.func, ast.Name):
        yield node.func, "list"


def _is_words(node: ast.BinOp) -> bool:
    """Return whether an expression joins or repeats strings."""
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


def _is_subscripted(source: Source, node: ast.AST) -> bool:
    outer = source.parent.get(node)
    while isinstance(outer, ast.UnaryOp | ast.Slice | ast.Tuple):
        node, outer = outer, source.parent.get(outer)
    return isinstance(outer, ast.Subscript) and outer.slice is node

"""Mutations chosen by hand: each once lived, or stands for a promise that only one line of the source keeps.

A mutant is addressed by its function and the text it changes; a table that no longer fits the source is an error.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from validation.source_mutation.source import Mutant, Source


@dataclass(frozen=True)
class Named:
    """A mutation chosen by hand.

    Attributes
    ----------
    what : str
        The wrong claim, in words.
    file, function : str
        As in `Mutant`.
    edits : tuple of (str, str)
        Text of the function, which occurs there once, and what replaces it.
    """

    what: str
    file: str
    function: str
    edits: tuple[tuple[str, str], ...]


NAMED = (
    Named(
        "the bounded map made exp",
        "lieref/group/maps.py",
        "Bounded",
        (
            ("(self.bound * np.tanh(xi.astype(np.float64) / self.bound)).astype(xi.dtype, copy=False)", "xi"),
            ("z_bar = group.exp_vjp(z, g, g_bar) / np.cosh(argument) ** 2", "z_bar = group.exp_vjp(z, g, g_bar)"),
        ),
    ),
    Named(
        "Abelian groups claimed not to be",
        "lieref/group/tensor.py",
        "TensorGroup",
        (("is_abelian: ClassVar[bool] = True", "is_abelian: ClassVar[bool] = False"),),
    ),
    Named(
        "open groups claimed not to be",
        "lieref/group/tensor.py",
        "TensorGroup",
        (("is_open: ClassVar[bool] = True", "is_open: ClassVar[bool] = False"),),
    ),
    Named(
        "the Cayley map claimed to leave the positive tensors",
        "lieref/group/tensor.py",
        "TensorGroup.keeps_cayley",
        (("return True", "return False"),),
    ),
    Named(
        "even Taylor polynomials claimed to leave the positive tensors",
        "lieref/group/tensor.py",
        "Hadamard.keeps_taylor",
        (("return degree % 2 == 0", "return False"),),
    ),
    Named(
        "no map but the bounded one claimed to stay",
        "lieref/group/maps.py",
        "Bounded.stays_in",
        (("return group.algebra.is_entrywise", "return False"),),
    ),
    Named(
        "the part of the factors' gradient that comes through the bias dropped",
        "lieref/model/site.py",
        "Site.pull_back",
        (("factor_bars = {name: bar + through_bias[name] for name, bar in factor_bars.items()}", "pass"),),
    ),
    Named(
        "the adapted bias left as it was",
        "lieref/model/site.py",
        "Site.adapted",
        (
            (
                "result[self.bias] = self.method.adapted_bias(self.params, base[self.bias], stored.shape, self.groups)",
                "result[self.bias] = base[self.bias]",
            ),
        ),
    ),
    Named(
        "the absolute sum behind a folded bias allowed to cancel",
        "lieref/model/fold.py",
        "Fold.bias_spread",
        (
            (
                "return a * np.abs(bias) + a * np.abs(mean) + np.abs(shift)",
                "return np.abs(a * (bias - mean) + shift)",
            ),
        ),
    ),
    Named(
        "tensor cores taken for exact adders",
        "lieref/conformance/profile.py",
        "Profile.unit",
        (("(2.0 if self.block else 1.0)", "(1.0)"),),
    ),
    Named(
        "a kind of input covered in part taken for checked",
        "lieref/conformance/outcome.py",
        "flaws",
        (("if uncovered[kind] < total[kind]:", "if False:"),),
    ),
    Named(
        "a check in which no case proves anything taken for passed",
        "lieref/conformance/outcome.py",
        "flaws",
        (("if not failing and not any(record.status in _PROVES for record in valid):", "if False:"),),
    ),
    Named(
        "the gradient of a global maximum sent to the last of a tie",
        "lieref/op/pool.py",
        "global_max_pool_vjp",
        (("flat.argmax(-1)[..., None]", "(flat.shape[-1] - 1 - flat[..., ::-1].argmax(-1))[..., None]"),),
    ),
    Named(
        "the gradient of a maximum sent to all of a tie",
        "lieref/kernel/pool_numba.py",
        "max_pool_vjp",
        (("                        break\n", ""),),
    ),
    Named(
        "the certified square root without its own rounding",
        "lieref/numerics/certified_array.py",
        "Certified.sqrt",
        (("np.minimum(slope, np.sqrt(a.radius)) + _RELATIVE * hi", "np.minimum(slope, np.sqrt(a.radius))"),),
    ),
    Named(
        "the certified square root without its count of roundings",
        "lieref/numerics/certified_array.py",
        "Certified.sqrt",
        (("enlarge(self.rounding / twice + hi)", "enlarge(self.rounding / twice)"),),
    ),
    Named(
        "the correction of logm with the wrong sign",
        "lieref/numerics/matrix_maps.py",
        "_log_one",
        (("x + (expm(-x) @ a", "x - (expm(-x) @ a"),),
    ),
)  # fmt: skip


def named_mutants(root: Path) -> dict[str, list[Mutant]]:
    """Return the mutants of the table, each as its edits.

    Raises
    ------
    LookupError
        If a text is missing from its function, or there more than once: the table must follow the source.
    """
    found = {}
    for row in NAMED:
        source = Source(row.file, (root / row.file).read_bytes())
        scopes = [
            node
            for node in ast.walk(source.tree)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and source.function_of(node) == row.function
        ]
        if len(scopes) != 1:
            raise LookupError(f"named.py: {row.file} has no {row.function}")
        found[row.what] = [_edit(source, scopes[0], row, old, new) for old, new in row.edits]
    return found


def _edit(source: Source, scope: ast.AST, row: Named, old: str, new: str) -> Mutant:
    low, high = source.span(scope)
    body = source.data[low:high]
    if body.count(old.encode()) != 1:
        raise LookupError(
            f"named.py: {row.file}, {row.function} must hold {old!r} once; got {body.count(old.encode())}"
        )
    start = low + body.index(old.encode())
    line = source.data.count(b"\n", 0, start) + 1
    inner = [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line)
    ]
    return source.changed("named", max(inner, key=lambda node: node.lineno), (start, start + len(old.encode())), new)

"""If as the branch that it takes, where its condition is the same for all samples, whatever they are."""

from __future__ import annotations

from dataclasses import replace

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.canonical import free_name
from lieref.model.checked import checked_nodes
from lieref.model.graph import Branch, Graph, Node
from lieref.model.layer import LINEAR_OPERATORS
from lieref.model.shapes import infer_specs

IF = "If"


def take_branch(graph: Graph, node: Node, batches: tuple[int, int]) -> Graph:
    """Return the graph with the nodes of one branch in the place of an If; nodes before it are no Ifs.

    Parameters
    ----------
    graph : Graph
    node : Node
    batches : pair of int
        Numbers of samples that the condition is found for.

    Raises
    ------
    UnsupportedError
        If the condition depends on the samples or on their number, or the branch holds what lieref has not, or weights.
    """
    place = graph.nodes.index(node)
    before = replace(graph, nodes=graph.nodes[:place])
    found = {_condition(before, node.inputs[0], batch) for batch in batches}
    if len(found) != 1 or None in found:
        raise UnsupportedError(f"load: node {node.name} (If): its condition must be a constant")
    branch = node.attrs["then_branch" if found.pop() else "else_branch"]
    assert isinstance(branch, Branch)  # what the reader has put there
    nodes = checked_nodes(branch.nodes, graph.opset, branch.outputs, f"a branch of {node.name}")
    for each in nodes:
        own = [name for name in each.inputs if name in branch.constants and branch.constants[name].dtype.kind == "f"]
        if each.op in LINEAR_OPERATORS and own:
            raise UnsupportedError(f"load: node {each.name} ({each.op}): its weight {own[0]} must lie outside of an If")
    names = _names(graph, node, branch)
    inside = [_renamed(each, names) for each in nodes]
    copies = [
        Node(f"{node.name}.{number}", "Identity", (names.get(name, name),), (output,))
        for number, (name, output) in enumerate(zip(branch.outputs, node.outputs, strict=True))
        if output
    ]
    constants: dict[str, Array] = {names[name]: value for name, value in branch.constants.items()}
    return replace(
        graph,
        nodes=(*graph.nodes[:place], *inside, *copies, *graph.nodes[place + 1 :]),
        initializers={**graph.initializers, **constants},
    )


def _condition(before: Graph, name: str, batch: int) -> bool | None:
    value = infer_specs(before, batch)[name].value
    return None if value is None or value.size != 1 else bool(value.item())


def _names(graph: Graph, node: Node, branch: Branch) -> dict[str, str]:
    """Return a name that the graph does not have for each tensor that the branch holds."""
    own = [*branch.constants, *(name for each in branch.nodes for name in each.outputs if name)]
    return {name: free_name(graph, f"{node.name}.{name}") for name in own}


def _renamed(node: Node, names: dict[str, str]) -> Node:
    """Return a node on tensors of other names; also what a node inside reads for its own branches."""
    changed = replace(
        node,
        inputs=tuple(names.get(name, name) for name in node.inputs),
        outputs=tuple(names.get(name, name) for name in node.outputs),
    )
    if node.op != IF:
        return changed
    inner = {key: _renamed_branch(value, names) for key, value in node.attrs.items() if isinstance(value, Branch)}
    return replace(changed, attrs=dict(inner))  # type: ignore[arg-type]


def _renamed_branch(branch: Branch, names: dict[str, str]) -> Branch:
    return Branch(
        tuple(_renamed(node, names) for node in branch.nodes),
        {names.get(name, name): value for name, value in branch.constants.items()},
        tuple(names.get(name, name) for name in branch.outputs),
    )

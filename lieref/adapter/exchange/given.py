"""What a user says of the base: a map of names, or the tensors it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lieref._text import near_path
from lieref._types import Array
from lieref.adapter.exchange.foreign_tensors import read_foreign_tensors
from lieref.adapter.strict_json import parse_json
from lieref.errors import FormatError

MAX_MAP_BYTES = 2**24
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Given:
    """Names, or tensors, of the base.

    Attributes
    ----------
    nodes : dict of str to str
        Node or weight of the ONNX file by module path.
    tensors : dict of str to array
        The state dict of the PyTorch network that was exported.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, Array] = field(default_factory=dict)

    def tensor(self, path: str, name: str, separator: str = ".") -> Array | None:
        """Return a tensor of a module, None where it is not given."""
        if separator == ".":
            return self.tensors.get(f"{path}.{name}")
        ending = f".{name}"
        found = [key for key in self.tensors
                 if key.endswith(ending) and key.removesuffix(ending).replace(".", separator) == path]  # fmt: skip
        return self.tensors[found[0]] if len(found) == 1 else None

    def weight(self, path: str, separator: str = ".") -> Array | None:
        """Return the weight of a module, None where it is not given."""
        return self.tensor(path, "weight", separator)


def read_given(path: str | Path) -> Given:
    """Read what ``--model-names`` names.

    Parameters
    ----------
    path : str or Path
        ``.json``, an object with module paths and the names of nodes or weights; or ``.safetensors``, the state dict
        of the base.

    Raises
    ------
    FormatError
        If it is neither.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"import: `--model-names` must be a file; there is no {path}{near_path(path)}")
    if path.suffix == ".safetensors":
        return Given(tensors=read_foreign_tensors(path))
    if path.suffix.lower() in PICKLES:
        raise FormatError(f"import: `--model-names` must hold no Python objects; {converted(path)}")
    if path.stat().st_size > MAX_MAP_BYTES:
        raise FormatError(f"import: `--model-names` must have at most {MAX_MAP_BYTES} bytes; got {path}")
    names = parse_json(path.read_bytes(), str(path))
    if not all(isinstance(value, str) for value in names.values()):
        raise FormatError(f"import: {path} must be an object with a name for every module path")
    return Given(nodes=names)


def converted(path: Path) -> str:
    """Return what to do with a file of pickled tensors, which is never read."""
    return (
        f"{path.name} is a pickle, which can run any code when it is read; convert it where it comes from: "
        "safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'NAME.safetensors')"
    )

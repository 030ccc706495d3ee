"""Fine-tuning of ONNX networks through Lie groups (LieRA) and the methods around it, on a CPU.

Load a network, attach a method, train it, keep the adapter or the merged network::

    model = lieref.load("resnet8.onnx")
    model.attach(lieref.LieRAConfig(r=4))
    history = lieref.fit(model, x, y)
    model.save_adapter("adapted")

Networks: `load`, `Model`, `NewHead`. Training: `fit`, `load_data`, `Dataset`, `Preprocess`, `make_task`, `History`, the
losses `CrossEntropy` and `MeanSquaredError`, the optimisers `AdamW` and `SGD`. Judging: `evaluate_model`, `Evaluation`.
Methods: `LieRAConfig`, `LoraConfig`, `HiRAConfig`, `MethodConfig`, `get_method`, `Method`, `describe_methods`.

`lieref.linalg` has the matrix functions with their derivatives, `lieref.lie` the groups, their maps and actions,
`lieref.golden` the checks of ports to other hardware and frameworks. Every error is a `LierefError`. Names are loaded
when they are first used: ``import lieref`` alone loads none of numba, scipy or onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref import errors as errors
from lieref._lazy import public_names
from lieref.errors import BusyError as BusyError
from lieref.errors import DomainError as DomainError
from lieref.errors import DTypeError as DTypeError
from lieref.errors import FormatError as FormatError
from lieref.errors import InternalError as InternalError
from lieref.errors import LierefError as LierefError
from lieref.errors import LierefWarning as LierefWarning
from lieref.errors import MissingExtraError as MissingExtraError
from lieref.errors import NotInGroupError as NotInGroupError
from lieref.errors import ShapeError as ShapeError
from lieref.errors import UnsupportedError as UnsupportedError
from lieref.errors import VerificationError as VerificationError

if TYPE_CHECKING:
    from lieref import golden as golden
    from lieref import lie as lie
    from lieref import linalg as linalg
    from lieref.adapter.model import Model as Model
    from lieref.adapter.model import load as load
    from lieref.evaluate.metric import Evaluation as Evaluation
    from lieref.evaluate.metric import evaluate_model as evaluate_model
    from lieref.model.head import NewHead as NewHead
    from lieref.param.config import HiRAConfig as HiRAConfig
    from lieref.param.config import LieRAConfig as LieRAConfig
    from lieref.param.config import LoraConfig as LoraConfig
    from lieref.param.config import MethodConfig as MethodConfig
    from lieref.param.describe import describe_methods as describe_methods
    from lieref.param.method import Method as Method
    from lieref.param.registry import get_method as get_method
    from lieref.train.data import Dataset as Dataset
    from lieref.train.data import load_data as load_data
    from lieref.train.history import History as History
    from lieref.train.loop import fit as fit
    from lieref.train.loss import CrossEntropy as CrossEntropy
    from lieref.train.loss import MeanSquaredError as MeanSquaredError
    from lieref.train.optimizer import SGD as SGD
    from lieref.train.optimizer import AdamW as AdamW
    from lieref.train.preprocess import Preprocess as Preprocess
    from lieref.train.task_registry import make_task as make_task

__version__ = "0.1.0"

_PLACES = {
    "load": "lieref.adapter.model:load",
    "Model": "lieref.adapter.model:Model",
    "NewHead": "lieref.model.head:NewHead",
    "load_data": "lieref.train.data:load_data",
    "Dataset": "lieref.train.data:Dataset",
    "Preprocess": "lieref.train.preprocess:Preprocess",
    "fit": "lieref.train.loop:fit",
    "History": "lieref.train.history:History",
    "make_task": "lieref.train.task_registry:make_task",
    "CrossEntropy": "lieref.train.loss:CrossEntropy",
    "MeanSquaredError": "lieref.train.loss:MeanSquaredError",
    "AdamW": "lieref.train.optimizer:AdamW",
    "SGD": "lieref.train.optimizer:SGD",
    "evaluate_model": "lieref.evaluate.metric:evaluate_model",
    "Evaluation": "lieref.evaluate.metric:Evaluation",
    "LieRAConfig": "lieref.param.config:LieRAConfig",
    "LoraConfig": "lieref.param.config:LoraConfig",
    "HiRAConfig": "lieref.param.config:HiRAConfig",
    "MethodConfig": "lieref.param.config:MethodConfig",
    "get_method": "lieref.param.registry:get_method",
    "Method": "lieref.param.method:Method",
    "describe_methods": "lieref.param.describe:describe_methods",
    "linalg": "lieref.linalg",
    "lie": "lieref.lie",
    "golden": "lieref.golden",
}
"""Public names, in the order of the documentation, and where each is."""

_ERRORS = (
    "LierefError", "ShapeError", "DTypeError", "DomainError", "NotInGroupError", "UnsupportedError", "FormatError",
    "VerificationError", "MissingExtraError", "BusyError", "InternalError", "LierefWarning",
)  # fmt: skip


def _moved(where: str, *names: str) -> dict[str, tuple[str, str]]:
    return {name: (f"{where}.{name}", f"{where}:{name}") for name in names}


# Each with what it is called now, and where it is: what was called otherwise is kept as it was.
_OLD = {
    **_moved("lieref.lie", "make_group", "make_map", "make_action", "compose_adapters"),
    **_moved("lieref.linalg", "conv", "conv_vjp", "expm", "expm_minus_identity", "expm_frechet", "logm"),
    **_moved("lieref.linalg", "matrix_phi", "matrix_phi_vjp", "exp_low_rank", "exp_low_rank_minus_identity"),
    **_moved("lieref.linalg", "exp_low_rank_vjp", "exp_skew_low_rank", "exp_skew_low_rank_vjp"),
    **_moved("lieref.linalg", "exp_traceless_low_rank", "exp_traceless_low_rank_vjp"),
    **_moved("lieref.golden", "torch_atol"),
    "expm_vjp": ("lieref.linalg.expm_vjp", "lieref.numerics.old:expm_vjp"),
    "add_weighted_adapter": ("lieref.lie.combine_adapters", "lieref.param.compose:add_weighted_adapter"),
    "HiraConfig": ("lieref.HiRAConfig", "lieref.param.config:HiRAConfig"),
    "METHODS": ("lieref.describe_methods", "lieref.param.registry:METHODS"),
}

__all__ = [*_PLACES, "errors", *_ERRORS, "__version__"]

if not TYPE_CHECKING:  # a checker of types is to know the names, and no others
    __getattr__, __dir__ = public_names(__name__, _PLACES, _OLD)

"""The compiled training engine: a network's forward and backward pass as one table of kernel calls.

It is a compiler of six stages, each a function from data to data. Read them in this order, with these words:

1. `lower` (with `lowered`, `lower_*`): ONNX nodes to layers. A `FusedLayer` (`layer`) is of one of the `kinds`.
2. `plan`, `builder`: layers to instructions. Each kind has its forward and its backward in one file (`conv`, with
   `winograd`; `transposed`, `channel`, `batched_product`, `pointwise`, `function`, `pool`, `resample`, `select`,
   `row_normalization`, `column_normalization`, `softmax`, `move`, `constant`, `embedding`, `recurrent`,
   `reference`). An `instruction` is a kernel, which is a family and a tile (chosen by `tiling`), its integers, and the
   places where it meets each `tensor`.
3. `weights`, `layout`, `adapter`: packed weights and gradient accumulators, what fills them (prepare) and what makes
   gradients of them (collect). `packed_weights` and `factors` hold their numbers.
4. `recompute`, `group`, `pieces`: instructions to others that leave the same bits in less memory or less time, as
   activations are given up and computed again, or a group of samples shares large weights, block by block.
5. `program`, `place`, `memories`: tensors get places in the arena, instructions become rows of integers, and every
   access is checked to lie in its operand.
6. `session`, `call`, `script`, `parts`, `share`: a batch is cut into parts, each with accumulators of its own, and a
   part into passes: of one sample, a group, or many vectors. A program bound to memory is a call; scripts list what
   threads run, a part each, or pieces of every image where there is one part.

`engine` is what callers see, `border` what their samples must be; `describe` and `footprint` say what was decided and
what it takes. A new operator of known kinds is one row of `lower.LOWER`. A new kind is a row of `kinds.KINDS` and a
file like `pool`; a kernel that is not there yet is a family of `lieref.kernel.simd.kernels`, which says what it
accesses.
"""

from __future__ import annotations

from lieref.model.engine.adapter import Adapter
from lieref.model.engine.engine import Engine, compile_graph
from lieref.model.engine.winograd import WINOGRAD

__all__ = ["WINOGRAD", "Adapter", "Engine", "compile_graph"]

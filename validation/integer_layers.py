"""Random layers of every kind, extremes among them, in TFLite's runtime and in lieref: every output compared.

python -m validation.integer_layers [LAYERS [SECONDS]]: of each kind, its element types in turn, each in three modes;
kinds take turns, so that a run that ends after SECONDS has as many of each.
"""

from __future__ import annotations

import sys
import time
import zlib
from importlib.metadata import version
from typing import Any

import numpy as np

from validation.integer.layers import differing, refused_types
from validation.integer.random_layer import KINDS
from validation.integer.runtime import RESOLVERS
from validation.record import environment, write_result

TYPES = ("int8", "uint8", "int16")


def main(layers: int = 5000, seconds: float = float("inf")) -> None:
    start = time.monotonic()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    examples: list[dict[str, Any]] = []
    index = 0
    while index < layers and time.monotonic() - start < seconds:
        for kind in KINDS:
            types = [dtype for dtype in TYPES if dtype not in refused_types(kind)]
            dtype = types[index % len(types)]
            layer = KINDS[kind](np.random.default_rng((1, index, zlib.crc32(kind.encode()))), dtype)
            row = rows.setdefault((kind, dtype), {"layers": 0, "outputs": 0, **dict.fromkeys(RESOLVERS, 0)})
            row["layers"] += 1
            try:
                found = differing(layer, RESOLVERS)
            except Exception as error:  # a layer that one of both refuses is counted, not lost
                row["refused"] = row.get("refused", 0) + 1
                examples.append({"kind": kind, "type": dtype, "index": index, "error": str(error)[:200]})
                continue
            for how, each in found.items():
                row[how] += each.different
                if each.different:
                    examples.append({"kind": kind, "type": dtype, "index": index, "mode": how, "largest": each.largest})
            row["outputs"] += found["xnnpack"].outputs
        index += 1
        if index % 500 == 0:
            print(index, f"{time.monotonic() - start:.0f} s", len(examples), flush=True)
    table = [{"kind": kind, "type": dtype, **row} for (kind, dtype), row in sorted(rows.items())]
    for row in table:
        print(row)
    write_result(
        "integer_layers",
        {
            "what": "outputs of random layers that differ between lieref and TFLite's runtime, by mode; "
            "`outputs` are those of one mode",
            "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
            "layers_of_a_kind": index,
            "seconds": round(time.monotonic() - start),
            "rows": table,
            "examples": examples[:100],
            **environment(),
        },
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))

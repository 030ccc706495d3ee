"""What an update takes as it is shipped: the files of a signed bundle, measured with a key that is thrown away."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lieref.errors import LierefError, LierefWarning
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial, run


def run_and_ship(problem: Problem, trial: Trial, *, seed: int) -> dict[str, Any]:
    """Return the record of `run_trial`; of this seed with ``bundle_bytes`` or, where none can be made, why.

    Bundles of other seeds differ in the digits of a few numbers; of one the networks of a self-test are run once.
    """
    outcome = run(problem, trial)
    if not outcome.files or trial.seed != seed:
        return outcome.record
    try:
        return {**outcome.record, "bundle_bytes": bundle_bytes(problem, outcome.files)}
    except LierefError as error:
        return {**outcome.record, "bundle_missing": str(error)}


def bundle_bytes(problem: Problem, files: Mapping[str, bytes]) -> int:
    """Return the bytes of all files of the signed bundle of an adapter, with its digest and self-test.

    Raises
    ------
    MissingExtraError
        Without the extra ``sign``.
    LierefError
        If no bundle can be made of the adapter.
    """
    from lieref.adapter.bundle.create import create_bundle
    from lieref.adapter.bundle.signing import make_key, read_signer

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        folder = Path(name)
        base, adapter = folder / (Path(problem.name).name or "base.onnx"), folder / "adapter"
        base.write_bytes(problem.base)
        adapter.mkdir()
        for file, data in files.items():
            (adapter / file).write_bytes(data)
        make_key(folder / "key")
        made = create_bundle(folder / "bundle", adapter, base=base, signers=[read_signer(folder / "key")])
        return sum(made.sizes.values())

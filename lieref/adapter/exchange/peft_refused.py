"""The kinds of PEFT 0.21.2 that are not read, and why."""

from __future__ import annotations

_MERGE = "merge it in PEFT (merge_and_unload) and export the network again"
_NO_WEIGHT = "no weight computes it, so run the network in PEFT"
_NO_ROW = f"lieref has no method for it; {_MERGE}"

WHY_NOT: dict[str, str] = {
    **dict.fromkeys(
        (
            "PROMPT_TUNING",
            "MULTITASK_PROMPT_TUNING",
            "P_TUNING",
            "PREFIX_TUNING",
            "ADAPTION_PROMPT",
            "CPT",
            "CARTRIDGE",
        ),
        f"it adds tokens, or keys and values, to what the network reads; {_NO_WEIGHT}",
    ),
    "XLORA": f"it mixes its adapters by what the network reads; {_NO_WEIGHT}",
    "POLY": f"it mixes its adapters by a task that is an input of the network; {_NO_WEIGHT}",
    "LILY": f"it mixes its factors by what the layer reads; {_NO_WEIGHT}",
    "SHADOW": f"it runs a second network beside the first; {_NO_WEIGHT}",
    "TRAINABLE_TOKENS": f"it changes rows of an embedding, which is no layer with factors here; {_MERGE}",
    "BEFT": f"it adds to the outputs of layers, whether these have a bias or not; {_MERGE}",
    "PSOFT": (
        "its file lacks the singular vectors that it turns, whose signs another machine may choose otherwise; "
        f"{_MERGE} on the machine that trained it"
    ),
    "ADAMSS": f"its file lacks the singular vectors that it moves in; {_MERGE} on the machine that trained it",
    "OSF": f"its file lacks the singular vectors that it leaves as they are; {_MERGE} on the machine that trained it",
    "UNILORA": f"its file lacks the places of its numbers, which depend on all layers together; {_MERGE}",
    "PVERA": f"it draws from a distribution, and its mean is VeRA with more numbers; {_NO_ROW}",
    "FROD": f"its file has bases that layers of the same name share; {_NO_ROW}",
    **dict.fromkeys(("GLORA", "VBLORA", "ROAD", "TINYLORA", "PEANUT", "SUPERTUNING", "DEFT"), _NO_ROW),
    "BONE": "it is called MISS since, and PEFT 0.21 reads it no more; its script convert-bone-to-miss.py converts it",
}
"""By ``peft_type``. BONE is of earlier versions."""

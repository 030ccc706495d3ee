"""Flags of golden cases: each names the bug that a case was built to catch."""

from __future__ import annotations

from typing import Final, NamedTuple


class Flag(NamedTuple):
    """One kind of trap: the type of bug, what the case does, and what goes wrong."""

    bug_type: str
    description: str
    effect: str
    links: tuple[str, ...] = ()


FLAGS: Final[dict[str, Flag]] = {
    "KernelFlip": Flag("LAYOUT", "Asymmetric kernel values.", "A true convolution instead of a correlation differs."),
    "AsymPad": Flag("LAYOUT", "Begin and end pads differ.", "Swapped or symmetrised pads shift the output."),
    "StrideRemainder": Flag(
        "BOUNDARY", "The stride does not divide the span.", "The last input rows are not read: their gradient is zero."
    ),
    "DilationEdge": Flag("BOUNDARY", "Dilated taps reach into the padding.", "Wrong range checks of dilated taps."),
    "GroupEdge": Flag("LAYOUT", "Several conv groups.", "A group reads the channels of another."),
    "Depthwise": Flag("LAYOUT", "As many groups as input channels.", "A wrong channel multiplier order."),
    "TailChannel": Flag("BOUNDARY", "Channel counts that no vector width divides.", "The tail of a loop is dropped."),
    "IntegerExact": Flag("EXACTNESS", "Small integers: every order is exact.", "Any difference is a bug."),
    "WideRange": Flag("PRECISION", "Magnitudes over 2**20.", "Transforms (Winograd, FFT) lose small values."),
    "Cancellation": Flag("PRECISION", "Products that cancel.", "Low-precision accumulation shows."),
    "TF32Trap": Flag(
        "PRECISION", "Mantissas beyond ten bits.", "Inputs rounded to TF32, silently the default on some GPUs.",
        ("pytorch#107514", "jax#12008"),
    ),
    "SubnormalOut": Flag("UNDERFLOW", "Results below the smallest normal number.", "Flushed to zero."),
    "ScaleTiny": Flag("TOLERANCE", "Data of size 1e-6.", "A fixed absolute tolerance accepts anything."),
    "AmpScale": Flag("RANGE", "Gradients multiplied by 2**16.", "Errors that grow with the incoming gradient."),
    "ZeroProduct": Flag("EXACTNESS", "Every product is zero.", "Uninitialised or stale memory shows."),
    "ExponentExtremes": Flag("RANGE", "Extreme exponents that meet their inverses.", "Overflow of intermediates."),
    "SmallOnLarge": Flag("PRECISION", "Small terms added to a large one.", "Truncation instead of rounding."),
    "HalfUlp": Flag("PRECISION", "One product of half the spacing of the sum.", "Wrong rounding of a tie."),
    "FullRange": Flag("RANGE", "Mantissas and exponents spread evenly.", "Precision lost anywhere."),
    "Noncommuting": Flag("ORDER", "Matrices that do not commute.", "Factors, transposes or sides exchanged."),
    "IdentityInit": Flag("EXACTNESS", "The update is zero.", "The adapted weight is not the base, bit for bit."),
    "DeltaForm": Flag("CANCELLATION", "A small change, asked for by itself.", "As a difference, digits vanish."),
    "FirstOrder": Flag("FORMULA", "Updates too large for 1 + x.", "The first-order map or gradient instead of exp."),
    "ThetaBranch": Flag(
        "PRECISION", "A norm next to a switching point of a known implementation.", "A wrong branch or coefficient.",
        ("pytorch#196592",),
    ),
    "PadeGap": Flag("PRECISION", "A norm just past a switching point.", "One squaring too few.", ("jax#26802",)),
    "Nilpotent": Flag("EXACTNESS", "The series ends: the result is rational.", "A series cut too early."),
    "Overscaling": Flag("PRECISION", "Large off-diagonal entries.", "Too many squarings.", ("scipy#25864",)),
    "TriangularSupport": Flag("EXACTNESS", "Triangular: half of the result is zero.", "Fill-in by pivoting."),
    "StructuralZero": Flag("EXACTNESS", "Zero weights.", "A multiplicative update must leave a zero alone."),
    "NearSingular": Flag("CONDITION", "Next to a point where a map has no value.", "A guard or a solve loses digits."),
    "IllConditioned": Flag("CONDITION", "Condition number beyond the format.", "No method gives all digits."),
    "BatchMix": Flag("BATCH", "Slices of very different norm.", "The scaling of one slice leaks.", ("scipy#25924",)),
    "BatchOne": Flag("BATCH", "A batch of one.", "Code paths for single matrices.", ("pytorch#196592",)),
    "Matricisation": Flag("LAYOUT", "The ways to lay a matrix into a kernel differ.", "The wrong one is used."),
    "GroupedFactors": Flag("LAYOUT", "Factors of several conv groups, stacked.", "Groups share or swap factors."),
    "Clipped": Flag("FORMULA", "Gradients longer than the norm allowed.", "Each array clipped by itself."),
    "WindowEdge": Flag("BOUNDARY", "Windows that reach into the padding.", "Padding counted, or taken for a maximum."),
    "OptimizerState": Flag("FORMULA", "States, decay, bias correction at work.", "An update rule of another kind."),
    "LongRun": Flag("FORMULA", "Ten steps of training.", "A small bias of a step adds up."),
    "RoundingTie": Flag("ROUNDING", "Accumulators at which roundings differ.", "Another rounding of the multiplier."),
    "AccumulatorOverflow": Flag("RANGE", "Sums beyond the register.", "Saturated, or kept in another width."),
    "ZeroPointBorder": Flag("BOUNDARY", "A border that is no zero.", "Padded with 0 instead of the zero point."),
    "BadShapes": Flag("VALIDATION", "Shapes that do not fit.", "Accepted instead of refused."),
}  # fmt: skip

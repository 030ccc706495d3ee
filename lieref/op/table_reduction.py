"""The table of operators, continued: those that take the entries along axes together."""

from __future__ import annotations

from lieref.op import cumulative, extreme, lp_normalization, reduction, top_k
from lieref.op import shape_rules as rules
from lieref.op.entry import Operator

REDUCTIONS = (
    Operator("ArgMax", extreme.arg_max, extreme.arg_max_vjp, extreme.arg_rule("ArgMax"), ()),
    Operator("ArgMin", extreme.arg_min, extreme.arg_min_vjp, extreme.arg_rule("ArgMin"), ()),
    Operator("CumProd", cumulative.cum_prod, cumulative.cum_prod_vjp, cumulative.cumulative_rule("CumProd")),
    Operator("CumSum", cumulative.cum_sum, cumulative.cum_sum_vjp, cumulative.cumulative_rule("CumSum")),
    Operator(
        "LpNormalization",
        lp_normalization.lp_normalization,
        lp_normalization.lp_normalization_vjp,
        lp_normalization.lp_normalization_shape,
        allowed={"p": (1, 2)},
    ),
    Operator("ReduceL1", reduction.reduce_l1, reduction.reduce_l1_vjp, rules.reduce("ReduceL1", empty=True)),
    Operator(
        "ReduceL2", reduction.reduce_l2, reduction.reduce_l2_vjp, rules.reduce("ReduceL2", empty=True, of_floats=True)
    ),
    Operator(
        "ReduceLogSum",
        reduction.reduce_log_sum,
        reduction.reduce_log_sum_vjp,
        rules.reduce("ReduceLogSum", empty=True, of_floats=True),
    ),
    Operator(
        "ReduceLogSumExp",
        reduction.reduce_log_sum_exp,
        reduction.reduce_log_sum_exp_vjp,
        rules.reduce("ReduceLogSumExp", empty=True, of_floats=True),
    ),
    Operator("ReduceMax", extreme.reduce_max, extreme.reduce_max_vjp, rules.reduce("ReduceMax", empty=True)),
    Operator("ReduceMin", extreme.reduce_min, extreme.reduce_min_vjp, rules.reduce("ReduceMin", empty=True)),
    Operator("ReduceProd", reduction.reduce_prod, reduction.reduce_prod_vjp, rules.reduce("ReduceProd", empty=True)),
    Operator(
        "ReduceSumSquare",
        reduction.reduce_sum_square,
        reduction.reduce_sum_square_vjp,
        rules.reduce("ReduceSumSquare", empty=True),
    ),
    Operator("TopK", top_k.top_k, top_k.top_k_vjp, top_k.top_k_shape, allowed={"output": (0, 1)}, outputs=2),
)

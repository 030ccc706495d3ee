"""How sure a comparison is: intervals, paired tests, several comparisons at once.

Which one to use. Of one run on a test set: `proportion_interval`. Of a number a seed: `mean_interval`. Of a method,
for other seeds and other samples: `accuracy_interval`; of two methods: `paired_difference`, or `mean_difference`
of losses, then `holm` over the table. Of the trained networks themselves: `mcnemar`, `mcnemar_over_seeds`,
`bootstrap_difference`; of two of them, one run each, `paired_share_interval`.
"""

from lieref.evaluate.statistics.bootstrap import bootstrap_difference
from lieref.evaluate.statistics.crossed import (
    Difference,
    Variance,
    accuracy_interval,
    crossed_interval,
    mean_difference,
    paired_difference,
    variance_of_mean,
)
from lieref.evaluate.statistics.flattered import Flattery, flattered_by
from lieref.evaluate.statistics.holm import holm
from lieref.evaluate.statistics.intervals import Interval, mean_interval, proportion_interval
from lieref.evaluate.statistics.mcnemar import discordant, mcnemar, mcnemar_mid_p, mcnemar_over_seeds
from lieref.evaluate.statistics.tango import paired_share_interval

__all__ = [
    "Difference",
    "Flattery",
    "Interval",
    "Variance",
    "accuracy_interval",
    "bootstrap_difference",
    "crossed_interval",
    "discordant",
    "flattered_by",
    "holm",
    "mcnemar",
    "mcnemar_mid_p",
    "mcnemar_over_seeds",
    "mean_difference",
    "mean_interval",
    "paired_difference",
    "paired_share_interval",
    "proportion_interval",
    "variance_of_mean",
]

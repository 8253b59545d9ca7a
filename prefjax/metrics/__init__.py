"""How good is a model: ranking, probabilities, wins, subspaces, and the intervals around them.

Everything is a function of arrays. Row measures (``nll``, ``brier``, ``correct``) give one number
per comparison, user measures (``auc``, ``user_auc``) one per person, and ``mean_interval``,
``clustered_mean`` and ``paired_difference`` turn either into a mean with an interval. People, not
rows, are the unit: a naive interval over rows covers 71 % where it says 95 %.
"""

from prefjax.metrics.interval import (
    Interval,
    cluster_bootstrap,
    clustered_mean,
    mean_interval,
    paired_difference,
    user_means,
)
from prefjax.metrics.probability import (
    Recalibration,
    Reliability,
    brier,
    correct,
    expected_calibration_error,
    interval_coverage,
    nll,
    recalibrate,
    reliability,
)
from prefjax.metrics.ranking import UserAUC, auc, macro_auc, pooled_auc, user_auc
from prefjax.metrics.subspace import effective_rank, subspace_angles
from prefjax.metrics.two_way import two_way_mean
from prefjax.metrics.win_rate import (
    Agreement,
    agreement,
    length_controlled_win_rate,
    win_difference,
    win_rate,
)

__all__ = [
    "Agreement",
    "Interval",
    "Recalibration",
    "Reliability",
    "UserAUC",
    "agreement",
    "auc",
    "brier",
    "cluster_bootstrap",
    "clustered_mean",
    "correct",
    "effective_rank",
    "expected_calibration_error",
    "interval_coverage",
    "length_controlled_win_rate",
    "macro_auc",
    "mean_interval",
    "nll",
    "paired_difference",
    "pooled_auc",
    "recalibrate",
    "reliability",
    "subspace_angles",
    "two_way_mean",
    "user_auc",
    "user_means",
    "win_difference",
    "win_rate",
]

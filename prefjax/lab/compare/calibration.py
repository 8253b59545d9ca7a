"""How far predicted probabilities can be believed, by number of answers.

All comparisons of all new people, of every draw, enter one logistic regression of the label on the
logit (`prefjax.metrics.recalibrate`), whose intervals are over people:

    calibration_slope        1 is calibrated; above it predictions are too cautious, below too sure
    calibration_intercept    0 is calibrated; exactly 0 where pairs in an arbitrary order are scored
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefjax.lab.compare.store import Cell
from prefjax.lab.rows import row
from prefjax.metrics import recalibrate


def calibration_rows(
    cells: Sequence[Cell],
    questions: str,
    num_answers: Sequence[int],
    *,
    drawn_anew: bool,
    columns: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Tidy rows of one method's own predictions; none where its cells keep no logits.

    Args:
        cells: Of one method on one set, all seeds.
        questions: Rule by which people were asked.
        num_answers: After how many answers they were scored.
        drawn_anew: Whether every seed has its own people; else who is new in several is one person.
        columns: Further columns of the rows.
    """
    found = [(cell, cell.scores.get((questions, ""))) for cell in cells]
    kept = [
        (cell, own.logit, own.label)
        for cell, own in found
        if own is not None and own.logit is not None and own.label is not None
    ]
    if not kept:
        return []
    mask = [~np.isnan(label) for _, _, label in kept]
    owners = [cell.users + ((cell.seed << 32) if drawn_anew else 0) for cell, *_ in kept]
    user = np.concatenate(
        [np.broadcast_to(whose[:, None], m.shape)[m] for whose, m in zip(owners, mask, strict=True)]
    )
    label = np.concatenate([said[m] for (_, _, said), m in zip(kept, mask, strict=True)])
    mirrored = not any(cell.about.get("votes") for cell, *_ in kept)
    about = {"questions": questions, "num_users": len(np.unique(user)), **columns}
    rows = []
    for place, number in enumerate(num_answers):
        parts = [logit[place][m] for (_, logit, _), m in zip(kept, mask, strict=True)]
        fitted = recalibrate(np.concatenate(parts), label, user, mirrored=mirrored)
        for name, interval in fitted._asdict().items():
            told = {**about, "num_answers": int(number)}
            named = kept[0][0].method, kept[0][0].dataset, f"calibration_{name}"
            rows.append(row(*named, interval, **told))
    return rows

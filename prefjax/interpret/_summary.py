"""What was found of the axes, in plain values and as Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefjax.data import Split
from prefjax.interpret import figures
from prefjax.interpret.axes import Axes
from prefjax.interpret.naming import Naming
from prefjax.metrics import Interval


def _interval(one: Interval | None) -> list[float | None]:
    if one is None:
        return [None, None, None]
    return [_number(one.value), _number(one.low), _number(one.high)]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def to_json(naming: Naming) -> dict[str, Any]:
    """Every number of a naming in plain values; NaN becomes None.

    Args:
        naming: From `name_axes`.
    """
    entries = []
    for axis, one in enumerate(naming.axes):
        fit = one.fidelity
        entries.append(
            {
                "axis": axis + 1,
                "name": one.name,
                "label": one.label.text if one.label else None,
                "failed": list(one.failed),
                "variance": one.variance,
                "auc": _interval(fit and fit.auc),
                "spearman": _interval(fit and fit.spearman),
                "num_pairs": fit.num_pairs if fit else 0,
                "p_rotation": one.p_rotation,
                "p_choices": _number(one.p_choices),
                "p_intruder": float(naming.intruder.p[axis]),
                "intruder_rate": float(naming.intruder.rate[axis]),
                "p_holm": one.p,
                "best_other": _number(one.best_other),
                "component": _number(one.component),
                "length": one.length,
                "shuffled": _number(one.shuffled),
                "stability": _number(one.stability),
                "agreement": _number(one.agreement),
            }
        )
    found = {"axes": entries, "random_intruder_rate": _number(naming.intruder.random_rate)}
    for name in ("choices", "named_choices"):
        one = getattr(naming, name)
        found[name] = one and {
            "label_auc": one.label_auc,
            "basis_auc": one.basis_auc,
            "population_auc": one.population_auc,
            "retained": _interval(one.retained),
            "minus_population": _interval(one.minus_population),
            "num_users": one.num_users,
        }
    found["matrix"] = [[_number(value) for value in row] for row in naming.matrix.tolist()]
    found["reader"] = {name: _number(value) for name, value in naming.reader.items()}
    return found


def summary(
    axes: Axes, naming: Naming, *, split: Split | None = None, cards: Sequence[str] = ()
) -> str:
    """The report as Markdown.

    Args:
        axes: From `make_axes`.
        naming: From `name_axes`.
        split: As it was given to `name_axes`.
        cards: File names of cards, without their endings.
    """
    lines = [
        "# What the axes mean",
        "",
        f"{naming.num_named} of {axes.num_axes} axes have a name that passed every test.",
        "",
        "| axis | name | tested label | variance | AUC on test pairs | p (Holm) | intruder | "
        "stability | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for axis in np.argsort(-axes.variance).tolist():
        one = naming.axes[axis]
        auc = _interval(one.fidelity and one.fidelity.auc)
        shown = "–" if auc[0] is None else f"{auc[0]:.3f} [{auc[1]:.3f}, {auc[2]:.3f}]"
        stable = "–" if np.isnan(one.stability) else f"{one.stability:.2f}"
        cells = [
            str(axis + 1),
            _cell(one.name),
            _cell(one.label.text if one.label else "–"),
            f"{one.variance:.3g}",
            shown,
            f"{one.p:.2g}",
            f"{naming.intruder.rate[axis]:.2f}",
            stable,
            _cell("; ".join(one.failed) or "nothing"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_choices_lines(naming), ""]
    lines += [
        f"The odd pair of five was found on {naming.intruder.random_rate:.0%} of random directions "
        "(chance: 20%).",
        "",
        "Reading: " + ", ".join(f"{name} {value:g}" for name, value in naming.reader.items()) + ".",
    ]
    if split is None:
        lines += [
            "",
            "No split was given: the model may have been fitted to the prompts that test.",
        ]
    for name in cards:
        lines += ["", f"[{name}]({name}.html)"]
    return "\n".join(lines) + "\n"


def _choices_lines(naming: Naming) -> list[str]:
    lines = []
    for name, one in (("all labels", naming.choices), ("named axes", naming.named_choices)):
        if one is None:
            continue
        kept, gain = one.retained, one.minus_population
        lines.append(
            f"Held-out people's choices from {name} alone: AUC {one.label_auc:.3f} (model "
            f"{one.basis_auc:.3f}, {one.num_users} people), retained share {kept.value:.2f} "
            f"[{kept.low:.2f}, {kept.high:.2f}], personal − population {gain.value:+.3f} "
            f"[{gain.low:+.3f}, {gain.high:+.3f}]."
        )
    return lines or ["Nobody's choices were predicted from labels."]


def _cell(text: str) -> str:
    """A text inside a Markdown table."""
    return figures.plain(text, 160).replace("|", "\\|").replace("<", "&lt;")

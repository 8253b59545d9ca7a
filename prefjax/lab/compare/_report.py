"""A comparison in Markdown: controls, scores, what answers bring, nulls, diagnostics."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefjax.lab.compare.questions import RECORDED
from prefjax.lab.compare.store import Cell
from prefjax.lab.compare.table import DRAWN_ANEW


def report(rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell], number: int) -> str:
    """The report of a comparison.

    Args:
        rows: From `tidy_rows`.
        cells: From `run_cells` or `with_earlier`.
        number: The number of answers at which differences are shown.
    """
    parts = []
    pairs = list(dict.fromkeys((row["dataset"], row["encoder"]) for row in rows))
    first_encoder = dict(reversed(pairs))
    for dataset, encoder in pairs:
        some = [row for row in rows if (row["dataset"], row["encoder"]) == (dataset, encoder)]
        seeds = {c.seed for c in cells if (c.dataset, c.encoder) == (dataset, encoder) and c.scores}
        people = max(row["num_users"] for row in some)
        parts += [
            f"## {dataset}, {encoder}",
            f"{people} new people over {len(seeds)} draws; intervals are 95 %, over people."
            + (" The people are simulated." if dataset in DRAWN_ANEW else ""),
            f"After {number} answers. Hurt: people whose AUC is below that of the fit without "
            "answers, and the same with another's answers. Worst tenth: AUC of those who have the "
            "lowest, without answers and after them. Flipped: right predictions that reversed "
            "answers change. Ceiling: accuracy of a perfect model under the noise of the answers"
            + (", of the true weights." if dataset in DRAWN_ANEW else ", where people repeat."),
            _controls(some, number),
            "AUC (mean over people) by number of answers.",
            _curves(some),
            f"Differences of AUC after {number} answers, in pairs, person by person. The last two "
            "are nulls: where they lie above 0 a family finds persons in noise.",
            _differences(some, number),
            *_encoders(some, first_encoder[dataset], number),
            *_calibration(some),
            *_diagnostics([c for c in cells if (c.dataset, c.encoder) == (dataset, encoder)]),
        ]
    failed = [cell for cell in cells if "error" in cell.about]
    if failed:
        lines = [
            f"| {c.dataset} | {c.encoder} | {c.seed} | {c.method} | {c.about['error']} |"
            for c in failed
        ]
        parts += [
            "## Cells that failed",
            "\n".join(
                ["| data set | encoder | seed | method | reason |", "|---" * 5 + "|", *lines]
            ),
        ]
    return "\n\n".join(parts)


def manifest(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What ran: an entry a cell, with its commit, seconds, config, diagnostics or why it failed."""
    return [
        {
            "dataset": cell.dataset,
            "encoder": cell.encoder,
            "seed": cell.seed,
            "method": cell.method,
            "num_users": len(cell.users),
            **{name: value for name, value in cell.about.items() if name != "settings"},
        }
        for cell in cells
    ]


def _name(row: Mapping[str, Any]) -> str:
    """The method, with the rule of its questions if it is not the usual one."""
    rule = row["questions"]
    return row["method"] if rule == RECORDED else f"{row['method']}, {rule}"


def _curves(rows: Sequence[Mapping[str, Any]]) -> str:
    wanted = [row for row in rows if row["metric"] == "auc_user" and row["control"] is None]
    return _by_number(wanted, "{value:.3f} ± {half:.3f}")


def _by_number(wanted: Sequence[Mapping[str, Any]], form: str) -> str:
    """A table of methods by numbers of answers."""
    numbers = sorted({row["num_answers"] for row in wanted})
    lines = [
        "| method | people | " + " | ".join(map(str, numbers)) + " |",
        "|---" * (len(numbers) + 2) + "|",
    ]
    at = {(_name(row), row["num_answers"]): row for row in wanted}
    for name in dict.fromkeys(map(_name, wanted)):
        some = [at[name, number] for number in numbers]
        cells = (form.format(**row, half=(row["high"] - row["low"]) / 2) for row in some)
        people = max(row["num_users"] for row in some)
        lines.append(f"| {name} | {people} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _controls(rows: Sequence[Mapping[str, Any]], number: int) -> str:
    names = (
        "method",
        "accuracy",
        "ceiling",
        "personal − own population",
        "hurt",
        "hurt by another's",
        "worst tenth, without",
        "worst tenth",
        "flipped",
    )
    at = {
        (row["method"], row["metric"], row["control"], row["num_answers"]): row
        for row in rows
        if row["questions"] in (None, RECORDED)
    }
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):

        def shown(
            metric: str, control: str | None = None, after: int | None = number, *, of: str = method
        ) -> str:
            row = at.get((of, metric, control, after))
            return "–" if row is None else f"{row['value']:.3f}"

        cells = (
            shown("accuracy"),
            shown("ceiling", after=None),
            _interval(at.get((method, "minus_population", None, number)), 0.0),
            shown("hurt_rate"),
            shown("hurt_rate", "wrong-user"),
            shown("worst_decile", after=0),
            shown("worst_decile"),
            shown("flip_rate", "reversed-answers"),
        )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS = (
    ("personal − own population", "minus_population", None),
    ("personal − Bradley–Terry", "minus_bradley_terry", None),
    ("another's answers − own population", "minus_population", "wrong-user"),
    ("shuffled users − own population", "minus_population", "shuffled-users"),
    ("shuffled labels: AUC − ½", "auc_user", "shuffled-labels"),
)


def _differences(rows: Sequence[Mapping[str, Any]], number: int) -> str:
    lines = ["| method | " + " | ".join(name for name, *_ in COLUMNS) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    at = {
        (_name(row), row["metric"], row["control"]): row
        for row in rows
        if row["num_answers"] == number
    }
    for method in dict.fromkeys(name for name, *_ in at):
        found = [(at.get((method, metric, control)), metric) for _, metric, control in COLUMNS]
        shown = (_interval(row, 0.5 if metric == "auc_user" else 0.0) for row, metric in found)
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _encoders(rows: Sequence[Mapping[str, Any]], first: str, number: int) -> list[str]:
    """Differences from the first encoder; nothing for that encoder itself."""
    wanted = [
        row
        for row in rows
        if row["metric"] == "minus_first_encoder" and row["num_answers"] == number
    ]
    if not wanted:
        return []
    lines = [f"| {_name(row)} | {_interval(row, 0.0)} |" for row in wanted]
    titles = f"| method | AUC − AUC with {first} |"
    said = f"The same after {number} answers against the first encoder, person by person."
    return [said, "\n".join([titles, "|---|---|", *lines])]


def _calibration(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Slopes of recalibration by number of answers; nothing where no logits were kept."""
    parts = []
    for name, said in (
        ("slope", "Calibration: slope of the label on the logit by number of answers. 1 is "
         "calibrated, above it predictions are too cautious, below it too sure."),
        ("intercept", "The intercept of the same: above 0 people are more often for than said."),
    ):  # fmt: skip
        wanted = [row for row in rows if row["metric"] == f"calibration_{name}"]
        if any(row["value"] for row in wanted):
            parts += [said, _by_number(wanted, "{value:.2f} [{low:.2f}, {high:.2f}]")]
    return parts


COLLAPSED = {
    "active_units": "0: answers are not read",
    "kl": "0: answers are not read",
    "effective_rank": "1: one reward",
    "largest_cosine": "1: two rewards alike",
    "router_entropy": "0: one head",
    "head_spread": "0: heads alike",
    "num_clusters": "1: one group",
}
"""Value of a diagnostic at which a family has collapsed, and to what."""


def _diagnostics(cells: Sequence[Cell]) -> list[str]:
    """What the families tell of their own fits, over draws; nothing where none has a diagnostic."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        for name, value in cell.about.get("diagnostics", {}).items():
            found.setdefault((cell.method, name), []).append(value)
    if not found:
        return []
    lines = [
        f"| {method} | {name} | {sum(values) / len(values):.3g} | {min(values):.3g} | "
        f"{max(values):.3g} | {COLLAPSED.get(name, '')} |"
        for (method, name), values in found.items()
    ]
    titles = "| method | diagnostic | mean of draws | least | most | collapsed at |"
    head = [titles, "|---" * 6 + "|"]
    return ["Alarms: what shows a known way to collapse.", "\n".join([*head, *lines])]


def _interval(row: Mapping[str, Any] | None, base: float) -> str:
    if row is None:
        return "–"
    value, low, high = (row[name] - base for name in ("value", "low", "high"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"

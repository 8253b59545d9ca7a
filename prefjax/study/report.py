"""``report.md``: what a study found, whether it can be believed, and what it could have found."""

import math
import re
from pathlib import Path

import numpy as np

from prefjax.io.atomic import write_atomically
from prefjax.metrics import Interval
from prefjax.study._export import StudyExport, config_of
from prefjax.study._replay import Replay
from prefjax.study.analysis import Analysis, analyze
from prefjax.study.config import StudyConfig
from prefjax.study.figures import LABELS, draw
from prefjax.study.reasons import Reasons, compare_reasons

FILE = "report.md"
MOST_LETTERS = 300
"""Of a quoted reason."""
_KINDS = {
    "practice": "practice",
    "adaptive": "adaptive question",
    "test": "test",
    "repeat": "repeat",
    "attention": "attention check",
}


def write_report(study: StudyExport, folder: Path, replayed: Replay | None = None) -> Path:
    """Writes the report and its figures.

    Args:
        study: The export.
        folder: Where they go.
        replayed: What a replay found; None where the database is not at hand.

    Returns:
        Path of the report.

    Raises:
        ValueError: Nobody has finished.
    """
    config = config_of(study.study)
    found = analyze(study, config.power)
    draw(study, found, folder)
    text = _text(study, config, found, replayed)
    write_atomically(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return folder / FILE


def _text(study: StudyExport, config: StudyConfig, found: Analysis, replayed: Replay | None) -> str:
    parts = [
        f"# {config.title}",
        "**Simulation: no real person took part.**" if config.simulated else "",
        _summary(config, found),
        "## Win rate over the default\n\n"
        "Mean over people of their win rates; no preference counts ½; Student's t intervals over "
        f"people ({config.power.level:.0%}).",
        _win_rates(found),
        "![Win rate by arm](win_rate.png)\n\n![Win rates of people](histogram.png)",
        "## Learning\n\n"
        "Replayed from the stored log: how well the belief after so many answers predicts the "
        "person's choices in the test (no preference: half right), and the negative "
        "log-likelihood of these choices in nats (a coin: 0.693). The test pairs were chosen by "
        "the belief after the last answer.",
        _learning(found),
        "![Learning curve](learning.png)",
        "## Can it be believed?",
        _quality(config, found, replayed),
        _reasons(compare_reasons(study)),
        "## Times and drop-out",
        _times(found),
        "![Seconds and drop-out by trial](course.png)",
        "## Power",
        _power(config, found),
        "## What was run",
        _design(study, config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(config: StudyConfig, found: Analysis) -> str:
    rate = found.win_rate["personal"]
    verdict = (
        "the interval leaves out one half"
        if rate.low > 0.5 or rate.high < 0.5
        else "the interval holds one half"
    )
    return (
        f"{found.num_people['complete']} people finished. What was chosen for them won "
        f"{_percent(rate)} of the comparisons with the default: {verdict}."
    )


def _win_rates(found: Analysis) -> str:
    rows = [
        [
            f"{LABELS[arm]} (`{arm}`)",
            _percent(interval),
            _percent(found.careful[arm]),
            f"{found.ties[arm]:.0%}",
        ]
        for arm, interval in found.win_rate.items()
    ]
    rows += [[name, _points(interval), "", ""] for name, interval in found.difference.items()]
    left_out = sum(count for failed, count in found.failed_checks.items() if failed >= 2)
    return _table(
        ["arm", "win rate", f"without {left_out} people who failed two checks", "no preference"],
        rows,
    )


def _learning(found: Analysis) -> str:
    last = len(found.accuracy.value) - 1
    chosen = [n for n in dict.fromkeys([0, 1, 3, 5, 10, last]) if n <= last]
    return _table(
        ["answers", "predicted", "negative log-likelihood"],
        [
            [
                str(n),
                _percent(Interval(*(np.asarray(part)[n] for part in found.accuracy))),
                _number(Interval(*(np.asarray(part)[n] for part in found.nll))),
            ]
            for n in chosen
        ],
    )


def _quality(config: StudyConfig, found: Analysis, replayed: Replay | None) -> str:
    lines = []
    if found.repeats.num:
        kappa = "" if math.isnan(found.repeats.kappa) else f", Cohen's κ {found.repeats.kappa:.2f}"
        lines.append(
            f"Repeats with the sides swapped: the same verdict in "
            f"{_percent(found.repeats_interval)} of {found.repeats.num}{kappa}."
        )
    lines += [
        f"Position: {_KINDS[kind]} trials went to the left in {_percent(interval)}."
        for kind, interval in found.left.items()
    ]
    checks = ", ".join(f"{count} failed {n}" for n, count in sorted(found.failed_checks.items()))
    lines.append(
        f"Attention checks ({len(config.attention)}): {checks}. People are not left out of the "
        "first column above for failing them."
    )
    late, questions = found.late
    lines.append(
        f"{late} of {questions} adaptive questions were drawn in advance because choosing took "
        f"longer than {config.phases.time_limit:g} s."
    )
    if replayed is not None:
        same = (
            "every question, side, arm, response and belief is the same, bit for bit"
            if not replayed.differences
            else f"{len(replayed.differences)} trials differ, the first: {replayed.differences[0]}"
        )
        lines.append(
            f"Replay of {replayed.num_questions} adaptive questions and {replayed.num_trials} test "
            f"trials of {replayed.num_people} people from the answers alone: {same}."
        )
    return "\n".join(f"- {line}" for line in lines)


def _reasons(found: Reasons) -> str:
    """What people wrote, beside the axes that predicted them; nothing where nobody wrote."""
    if not found.names:
        return ""
    said = (
        f"{len(found.names)} people: too few, or all alike, for a correlation."
        if math.isnan(found.correlation)
        else f"People who wrote alike are predicted by the same axes: r = {found.correlation:.2f} "
        f"over pairs of {len(found.names)} people, p = {found.p:.2g} (permutations of the reasons)."
    )
    rows = []
    for axis in range(found.profile.shape[1]):
        for one in found.most_predicted(axis):
            end = "first" if found.profile[one, axis] > 0 else "other"
            rows.append([f"{axis + 1}, {end} end", _quote(found.texts[one])])
    return (
        "## What people said they looked for\n\n"
        f"{said} Below, for each axis, what those wrote whose prediction in the test rests most on "
        "it, on which end of it they are.\n\n" + _table(["axis", "reason"], rows)
    )


def _quote(text: str) -> str:
    """A person's words in a cell of a table."""
    short = text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
    return "“" + re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", short) + "”"


def _times(found: Analysis) -> str:
    rows = [
        [_KINDS[kind], *(f"{value:.1f}" for value in quartiles)]
        for kind, quartiles in found.seconds.items()
    ]
    people = ", ".join(f"{end.replace('_', ' ')} {n}" for end, n in found.num_people.items())
    low, middle, high = found.minutes
    dropped = (
        f" Unfinished people had given these numbers of answers: "
        f"{', '.join(map(str, found.dropped_after))}."
        if found.dropped_after
        else ""
    )
    return (
        f"People: {people}.{dropped} From consent to end: median {middle:.1f} minutes "
        f"(quartiles {low:.1f} and {high:.1f}).\n\n"
        + _table(["seconds of a trial", "lower quartile", "median", "upper quartile"], rows)
    )


def _power(config: StudyConfig, found: Analysis) -> str:
    power, planned = found.power, config.power
    if math.isnan(power.power):
        return "The win rates of people do not differ, or there is one person: no power is given."
    return (
        f"Planned before the study: to find a win rate of {0.5 + planned.effect:.2f} with "
        f"probability {planned.power:.2f}. The win rates of the {power.num} people have a standard "
        f"deviation of {power.deviation:.3f}; with it, this study would find that effect with "
        f"probability {power.power:.2f}, {power.needed} people would be needed, and the smallest "
        f"win rate that {power.num} people find with probability {planned.power:.2f} is "
        f"{0.5 + power.detectable:.3f}. (The effect is the planned one, not the one found.)"
    )


def _design(study: StudyExport, config: StudyConfig) -> str:
    arms = ", ".join(f"{getattr(config.arms, arm)} {LABELS[arm]}" for arm in LABELS)
    return (
        f"{config.phases.num_adaptive} questions chosen by `{config.phases.rule}`; "
        f"{config.arms.num_trials} test trials against the default ({arms}); "
        f"{config.phases.num_repeats} repeats; {len(config.attention)} attention checks. "
        f"Study seed {config.seed}, materials `{study.study['digest'][:16]}`, consent "
        f"`{study.study['consent_version']}`. The data are in `choices/` (read with "
        "`prefjax.data.io.read_folder`), `trials.parquet` and `participants.parquet`."
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(interval: Interval) -> str:
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    ends = "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"
    return f"{100 * float(interval.value):.1f} %{ends}"


def _points(interval: Interval) -> str:
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    return f"{100 * float(interval.value):+.1f} points [{low:+.1f}, {high:+.1f}]"


def _number(interval: Interval) -> str:
    return f"{float(interval.value):.3f} [{float(interval.low):.3f}, {float(interval.high):.3f}]"

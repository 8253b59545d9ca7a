"""A person's card: where somebody stands on each named axis, and how it moved with every answer.

The weight on an axis is in standard deviations of the population: 0 is the average person, ±1 and
±2 hold 68 and 95 of a hundred. The interval is that of the person's posterior; before the first
answer it is the population itself.
"""

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import stats

from prefjax.interpret.axes import Axes
from prefjax.interpret.figures import MAX_SHOWN, NAMED_COLOR, STYLE, UNNAMED_COLOR, drawable, plain
from prefjax.interpret.naming import Naming
from prefjax.person import adapt_path
from prefjax.person.items import bucket, pad_rows
from prefjax.types import FeatureGap, Gaussian

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 1.959964
"""Standard errors of a 95 % interval."""


_adapt_path = jax.jit(adapt_path)


class Standing(NamedTuple):
    """One person on all axes, after every number of answers from none on.

    Attributes:
        mean: Weights in standard deviations of the population, after 0, 1, … answers.
        low: Lower end of the 95 % interval.
        high: Upper end.
        quantile: Part of the population below the last mean, by axis.
    """

    mean: Float[np.ndarray, "answers axis"]
    low: Float[np.ndarray, "answers axis"]
    high: Float[np.ndarray, "answers axis"]
    quantile: Float[np.ndarray, " axis"]


def standing_of(axes: Axes, beliefs: Sequence[Gaussian]) -> Standing:
    """Where a person stands, from what is known of the weights after each answer.

    Args:
        axes: From `make_axes`.
        beliefs: N(λ̂, H⁻¹) on these axes, one after each number of answers.
    """
    center = np.asarray(axes.basis.population.mean)
    spread = np.sqrt(np.diagonal(np.asarray(axes.basis.population.covariance)))
    mean = np.stack([np.asarray(belief.mean) for belief in beliefs])
    error = np.sqrt(np.stack([np.diagonal(np.asarray(one.covariance)) for one in beliefs]))
    mean, error = (mean - center[None]) / spread[None], error / spread[None]
    return Standing(
        mean, mean - LIMIT * error, mean + LIMIT * error, np.asarray(stats.norm.cdf(mean[-1]))
    )


def follow_answers(
    axes: Axes,
    gap: FeatureGap,
    label: Float[np.ndarray, " answer"],
) -> Standing:
    """Where a new person stands after each answer, the population before the first.

    Args:
        axes: From `make_axes`.
        gap: Of the pairs that were answered, from `Axes.pair_gap`.
        label: Probability that the first was preferred.
    """
    number = len(label)
    pad = bucket(number) - number
    rows = (
        FeatureGap(*(pad_rows(np.asarray(part, np.float32), number + pad)[None] for part in gap)),
        np.pad(np.asarray(label, np.float32), (0, pad), constant_values=0.5)[None],
        np.pad(np.ones(number, np.float32), (0, pad))[None],
    )
    population = axes.basis.population
    prior = jax.tree.map(lambda part: np.asarray(part, np.float32), population)
    steps = np.arange(1, number + pad + 1)
    scale = np.asarray(axes.basis.posterior_scale, np.float32)
    fits = _adapt_path(*rows, steps, prior=prior, posterior_scale=scale)
    beliefs = [Gaussian(population.mean, population.covariance)]
    hessian = np.asarray(fits.hessian)[:number, 0]
    for weights, curvature in zip(np.asarray(fits.weights)[:number, 0], hessian, strict=True):
        beliefs.append(Gaussian(weights, np.linalg.inv(curvature)))
    return standing_of(axes, beliefs)


def person_card(
    name: str, standing: Standing, naming: Naming, *, named_only: bool = True
) -> "Figure":
    """The card as a figure.

    Args:
        name: Of the person.
        standing: From `follow_answers` or `standing_of`.
        naming: From `name_axes`.
        named_only: Leave out the axes without a name, unless none has one.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = _shown(naming, named_only)
    has_path = len(standing.mean) > 1
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(7.0 if has_path else 4.4, 0.52 * len(shown) + 1.2), layout="constrained"
        )
        panels = figure.subplots(
            1, 2 if has_path else 1, squeeze=False, width_ratios=(3, 2)[: 1 + has_path]
        )[0]
        figure.suptitle(drawable(name, 60), x=0.01, ha="left", weight="bold", fontsize=9)
        _stand(panels[0], standing, naming, shown)
        if has_path:
            _path(panels[1], standing, shown)
    return figure


def _shown(naming: Naming, named_only: bool) -> list[int]:
    order = np.argsort([-axis.variance for axis in naming.axes], kind="stable").tolist()
    named = [axis for axis in order if naming.axes[axis].is_named]
    return named if named and named_only else order[:MAX_SHOWN]


def _stand(panel: Any, standing: Standing, naming: Naming, shown: list[int]) -> None:
    grid = np.linspace(-3, 3, 121)
    density = 0.38 * np.exp(-(grid**2) / 2)
    for place, axis in enumerate(shown):
        color = NAMED_COLOR if naming.axes[axis].is_named else UNNAMED_COLOR
        panel.fill_between(grid, place - density, place + density, color="#E4E4E4", linewidth=0)
        low, high = standing.low[-1, axis], standing.high[-1, axis]
        panel.plot([low, high], [place, place], color=color, linewidth=2.2)
        panel.plot(standing.mean[-1, axis], place, "o", color=color, markersize=5)
        more, _, less = drawable(naming.axes[axis].name).partition(" vs. ")
        panel.text(-3.1, place - 0.28, drawable(less or "", 30), fontsize=7, color="#444444")
        panel.text(3.1, place - 0.28, drawable(more, 30), ha="right", fontsize=7, color="#444444")
    panel.axvline(0, color="#999999", linewidth=0.8, zorder=0)
    panel.set_yticks([])
    panel.set(xlim=(-3.2, 3.2), ylim=(len(shown) - 0.5, -0.6))
    panel.set_xlabel("standard deviations of the population (gray: everybody)")
    panel.spines["left"].set_visible(False)


def _path(panel: Any, standing: Standing, shown: list[int]) -> None:
    answers = np.arange(len(standing.mean))
    for place, axis in enumerate(shown):
        value = standing.mean[:, axis]
        half = (standing.high[:, axis] - standing.low[:, axis]) / 2
        scale = 1 / 6
        panel.fill_between(
            answers,
            place - scale * (value - half),
            place - scale * (value + half),
            color="#D6E6F2",
            linewidth=0,
        )
        panel.plot(answers, place - scale * value, color=NAMED_COLOR, linewidth=1.2)
        panel.axhline(place, color="#CCCCCC", linewidth=0.6, zorder=0)
    panel.set_yticks([])
    panel.set(xlabel="answers", ylim=(len(shown) - 0.5, -0.6), title="how it moved")
    panel.spines["left"].set_visible(False)


def card_html(
    name: str,
    standing: Standing,
    naming: Naming,
    *,
    answers: Sequence[str] = (),
    named_only: bool = True,
) -> str:
    """The card as one HTML file that needs no other; every text is escaped.

    Args:
        name: Of the person.
        standing: From `follow_answers` or `standing_of`.
        naming: From `name_axes`.
        answers: What each answer was about, in their order; listed with what it moved most.
        named_only: Leave out the axes without a name, unless none has one.
    """
    shown = _shown(naming, named_only)
    rows = "\n".join(_row(standing, naming, axis) for axis in shown)
    moves = "\n".join(
        _move(standing, naming, shown, step, text) for step, text in enumerate(answers, start=1)
    )
    history = f"<h2>What each answer moved</h2>\n<ol>\n{moves}\n</ol>" if moves else ""
    heard = f"After {len(standing.mean) - 1} answers." if len(standing.mean) > 1 else ""
    unnamed = sum(not axis.is_named for axis in naming.axes)
    picture = to_data_uri(person_card(name, standing, naming, named_only=named_only))
    title = html.escape(plain(name))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #ddd; }}
td.number {{ text-align: right; white-space: nowrap; }}
img {{ max-width: 100%; height: auto; }}
.quiet {{ color: #666; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="quiet">{heard} Weights in standard deviations of the
population; 95 % intervals. {unnamed} of {len(naming.axes)} axes have no name that passed its
tests.</p>
<img alt="Where this person stands on each axis, against the population" src="{picture}">
<table>
<tr><th>toward</th><th>away from</th><th>weight that way</th><th>further than</th></tr>
{rows}
</table>
{history}
</body>
</html>
"""


def _row(standing: Standing, naming: Naming, axis: int) -> str:
    mean, low, high = (part[-1, axis] for part in (standing.mean, standing.low, standing.high))
    more, _, less = naming.axes[axis].name.partition(" vs. ")
    share = standing.quantile[axis]
    if less and mean < 0:
        more, less = less, more
        mean, low, high, share = -mean, -high, -low, 1 - share
    cells = [html.escape(more), html.escape(less)]
    number = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    share = f"{100 * share:.0f} % of people"
    return (
        f"<tr><td>{cells[0]}</td><td>{cells[1]}</td>"
        f'<td class="number">{number}</td><td class="number">{share}</td></tr>'
    )


def _move(standing: Standing, naming: Naming, shown: list[int], step: int, text: str) -> str:
    change = standing.mean[step, shown] - standing.mean[step - 1, shown]
    most = int(np.argmax(np.abs(change)))
    more, _, less = naming.axes[shown[most]].name.partition(" vs. ")
    toward = more if change[most] >= 0 or not less else less
    moved = f"{html.escape(toward)} {abs(change[most]):.2f}"
    return f'<li>{html.escape(plain(text, 300))} <span class="quiet">({moved})</span></li>'


def to_png(figure: "Figure", *, dpi: int = 160) -> bytes:
    """A figure as the content of a PNG file.

    Args:
        figure: Any.
        dpi: Dots an inch.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def to_data_uri(figure: "Figure") -> str:
    """A figure as the address of an image that is part of the page.

    Args:
        figure: Any.
    """
    return "data:image/png;base64," + base64.b64encode(to_png(figure)).decode()

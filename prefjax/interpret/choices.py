"""Do the labels predict what people choose? The annotations alone take the place of the model.

With x the annotations of a pair, one number a label, held-out person u has

    logit = w_u·x,   w_u = argmin Σ ℓ(w·x_i, y_i) + ½ β ‖w − w_0‖²,

w_0 from the choices of the training people, and β by how well these predict one half of their own
choices from the other. The labels retain the share

    (AUC_labels − ½) / (AUC_φ − ½)

of what the model itself reaches on the same choices with the same answers.

Whether an axis tells *people* apart by its label is tested for each label alone: the weights that
one held-out person's answers give are used for the choices of another. If the label says nothing
about who somebody is, no permutation of the people is likelier than the true one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from prefjax.data import Split
from prefjax.interpret._people import solve_people
from prefjax.interpret.axes import Axes
from prefjax.interpret.readers import Label, Reader
from prefjax.metrics import Interval, macro_auc, nll, paired_difference
from prefjax.types import BASELINE, Comparisons, FeatureGap, Gaussian

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
NUM_PERMUTATIONS = 20_000
NUM_RESAMPLES = 2000


class ChoicePrediction(NamedTuple):
    """Held-out people's choices from labels alone, and from the model.

    Attributes:
        label_auc: Mean over people of the AUC of the label model.
        basis_auc: The same of the model with the same answers.
        population_auc: The same of the label model when people are not told apart.
        retained: Share of the model's AUC above ½, with an interval over people.
        minus_population: AUC of the personal minus the population label model, paired by person.
        p: For each label alone, of people being interchangeable.
        num_users: Held-out people with an AUC.
    """

    label_auc: float
    basis_auc: float
    population_auc: float
    retained: Interval
    minus_population: Interval
    p: Float[np.ndarray, " label"]
    num_users: int


class _Cell(NamedTuple):
    rows: Comparisons
    inputs: Float[np.ndarray, "row input"]


def predict_choices(
    seed: int,
    axes: Axes,
    labels: list[Label],
    split: Split,
    reader: Reader,
    *,
    max_pairs: int | None = None,
) -> ChoicePrediction:
    """Label-only prediction of what new people choose.

    Args:
        seed: Of the permutations and of the pairs that are annotated.
        axes: The model on its axes, whose predictions are the measure.
        labels: One an axis.
        split: Training people give w_0 and β, new people answer in calibration and are scored in
            test.
        reader: Who annotates.
        max_pairs: Different pairs of a cell that are annotated, those that most rows show; all by
            default. A judge is paid by the pair.

    Raises:
        ValueError: No new person has both answers and tests that are annotated.
    """
    rng = np.random.default_rng(seed)
    names = ("train", "calibration", "test")
    cells = [_annotated(rng, labels, getattr(split, name), reader, max_pairs) for name in names]
    scale = np.sqrt(np.mean(cells[0].inputs ** 2, axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    train, answers, tests = (cell._replace(inputs=cell.inputs / scale[None]) for cell in cells)
    num_new = len(split.new_users)
    scored = np.intersect1d(answers.rows.user, tests.rows.user)
    if not len(scored):
        raise ValueError("no new person has answers and tests that are annotated")

    every = np.arange(len(labels))
    weights, center = _people(train, answers, every, split)
    logit = _logit(tests, weights, every)
    shared = _with_constant(tests.inputs, tests.rows) @ center
    own = _model_logit(axes, answers.rows, tests.rows, num_new)
    mirrored = not (tests.rows.second == BASELINE).any()
    auc = [
        macro_auc(tests.rows.user, score, tests.rows.label, mirrored=mirrored)
        for score in (logit, own, shared)
    ]
    per_user = [one.per_user for one in auc]
    p = np.array([_exchange_p(rng, train, answers, tests, j, split) for j in range(len(labels))])
    return ChoicePrediction(
        label_auc=auc[0].value,
        basis_auc=auc[1].value,
        population_auc=auc[2].value,
        retained=_share(rng, per_user[0], per_user[1]),
        minus_population=paired_difference(per_user[0], per_user[2], bounds=(-1.0, 1.0)),
        p=p,
        num_users=auc[0].num_users,
    )


def _annotated(
    rng: np.random.Generator,
    labels: list[Label],
    rows: Comparisons,
    reader: Reader,
    max_pairs: int | None,
) -> _Cell:
    """Rows whose pair is annotated by all labels; each pair is read once."""
    pairs = np.stack([np.asarray(rows.first), np.asarray(rows.second)], axis=1)
    different, place, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    chosen = np.arange(len(different))
    if max_pairs is not None:
        # What many people compared says most for its price.
        commonest = np.lexsort((rng.random(len(count)), -count))
        chosen = np.sort(commonest[:max_pairs])
    table = np.full((len(different), len(labels)), np.nan)
    table[chosen] = reader.annotate(labels, different[chosen, 0], different[chosen, 1]).T
    inputs = table[place.ravel()]
    known = ~np.isnan(inputs).any(axis=1)
    return _Cell(Comparisons(*(np.asarray(column)[known] for column in rows)), inputs[known])


def _with_constant(inputs: np.ndarray, rows: Comparisons) -> np.ndarray:
    """Votes are compared with zero, so they need to know how much they agree with at all."""
    votes = (np.asarray(rows.second) == BASELINE).astype(np.float64)
    return np.concatenate([inputs, votes[:, None]], axis=1)


def _population(cell: _Cell, columns: np.ndarray) -> np.ndarray:
    """w_0, the last number for votes."""
    inputs = _with_constant(cell.inputs[:, columns], cell.rows)
    label = np.asarray(cell.rows.label, np.float64)
    weight = np.concatenate(
        [cell.rows.sample_weight * label, cell.rows.sample_weight * (1 - label)]
    )
    both, counted = np.repeat([1, 0], len(label)), weight > 0
    if len(np.unique(both[counted])) < 2:
        return np.zeros(inputs.shape[1])
    model = LogisticRegression(C=10.0, fit_intercept=False, max_iter=500)
    model.fit(np.concatenate([inputs, inputs])[counted], both[counted], weight[counted])
    return model.coef_[0]


def _solve(
    cell: _Cell, columns: np.ndarray, num_users: int, center: np.ndarray, ridge: float
) -> np.ndarray:
    """Ridge weights of every person around w_0."""
    inputs = _with_constant(cell.inputs[:, columns], cell.rows)
    nothing = np.zeros(len(inputs))
    prior = Gaussian(center, np.eye(len(center)) / ridge)
    return solve_people(cell.rows, FeatureGap(inputs, nothing, nothing), num_users, prior)


def _people(
    train: _Cell, answers: _Cell, columns: np.ndarray, split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the new people, and w_0."""
    num_known, num_new, group = len(split.known_users), len(split.new_users), split.group
    center = _population(train, columns)
    # What a known person answers and what is then predicted share no group of responses.
    half = np.random.default_rng(0).permutation(int(group.max()) + 1) % 2
    side = half[group[np.asarray(train.rows.first)]]
    parts = [_select(train, side == one) for one in (0, 1)]
    if any(not len(part.inputs) for part in parts):
        return _solve(answers, columns, num_new, center, RIDGES[2]), center
    losses = []
    for ridge in RIDGES:
        weights = _solve(parts[0], columns, num_known, center, ridge)
        loss = nll(_logit(parts[1], weights, columns), parts[1].rows.label)
        losses.append(float(np.average(np.asarray(loss), weights=parts[1].rows.sample_weight)))
    ridge = RIDGES[int(np.argmin(losses))]
    return _solve(answers, columns, num_new, center, ridge), center


def _select(cell: _Cell, rows: np.ndarray) -> _Cell:
    return _Cell(Comparisons(*(column[rows] for column in cell.rows)), cell.inputs[rows])


def _logit(cell: _Cell, weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    inputs = _with_constant(cell.inputs[:, columns], cell.rows)
    return np.einsum("rk,rk->r", inputs, weights[np.asarray(cell.rows.user)])


def _model_logit(
    axes: Axes, answers: Comparisons, tests: Comparisons, num_users: int
) -> np.ndarray:
    """Logits of the model itself with the same answers."""
    basis = axes.basis
    weights = solve_people(
        answers,
        axes.pair_gap(answers.first, answers.second),
        num_users,
        basis.population,
        posterior_scale=float(basis.posterior_scale),
    )[np.asarray(tests.user)]
    gap = axes.pair_gap(tests.first, tests.second)
    return np.einsum("rk,rk->r", gap.features, weights) + gap.offset


def _exchange_p(
    rng: np.random.Generator,
    train: _Cell,
    answers: _Cell,
    tests: _Cell,
    label: int,
    split: Split,
) -> float:
    """P that the people are interchangeable as far as one label goes; see the module docstring."""
    columns = np.array([label])
    weights, _ = _people(train, answers, columns, split)
    num_new = len(split.new_users)
    inputs = _with_constant(tests.inputs[:, columns], tests.rows)
    user = np.asarray(tests.rows.user)
    table = np.zeros((num_new, num_new))
    logits = inputs @ weights.T
    label_of_all = np.broadcast_to(np.asarray(tests.rows.label)[:, None], logits.shape)
    loss = np.asarray(nll(logits, label_of_all), np.float64)
    np.add.at(table, user, -loss * np.asarray(tests.rows.sample_weight)[:, None])
    some = np.intersect1d(np.unique(user), np.unique(answers.rows.user))
    table = table[np.ix_(some, some)]
    true = np.trace(table)
    orders = rng.permuted(np.tile(np.arange(len(some)), (NUM_PERMUTATIONS, 1)), axis=1)
    shuffled = table[np.arange(len(some))[None], orders].sum(axis=1)
    return float((1 + np.sum(shuffled >= true - 1e-9)) / (1 + NUM_PERMUTATIONS))


def _share(rng: np.random.Generator, labels: np.ndarray, basis: np.ndarray) -> Interval:
    """Retained share with a bootstrap interval over people."""
    known = ~(np.isnan(labels) | np.isnan(basis))
    gains = np.stack([labels[known], basis[known]]) - 0.5
    num = gains.shape[1]
    value = gains[0].mean() / gains[1].mean()
    drawn = rng.integers(num, size=(NUM_RESAMPLES, num))
    means = gains[:, drawn].mean(axis=2)
    low, high = np.quantile(means[0] / means[1], [0.025, 0.975])
    return Interval(*map(np.asarray, (value, low, high, num)))

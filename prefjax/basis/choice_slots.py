r"""Choices of one among three or more in a fit: the slots of rows in which their pairs stand.

The loss of a choice among k with rewards z and label y is ``log Σ exp z − y·z``. A sum over rows
sees only gaps ``d_ij = z_i − z_j`` of two responses, and that is enough:

    gradient     p − y = Σ_{i>0} (y_i − p_i) ∂d_0i,          p its probabilities,
    curvature    A = Σ_{i<j} (−A_ij) ∂d_ij ∂d_ijᵀ,           since the rows of A sum to 0.

So a choice stands in k (k − 1) / 2 slots, one for each pair, and every sum over rows, pairs and
responses is what it is for comparisons. Each slot has the part ``2 / (k (k − 1))`` of its weight,
so that the slots of a choice weigh together what one comparison does; what `expectation` puts
there is larger by as much. Under ``quadrature`` p and A are the expectations of
`prefjax.logistic.softmax_expectation`, under ``jaakkola`` those of the bound of
`prefjax.logistic.softmax_bound`, whose A_ij may have either sign. Choices among two are
comparisons.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.data.choices import validate_choices
from prefjax.logistic import softmax_bound, softmax_expectation
from prefjax.types import BASELINE, Array, Choices, Comparisons
from prefjax.variational import Bound, Expectation


class ChoiceSlots(NamedTuple):
    """Where choices among three or more stand; the order of pairs is that of ``triu_indices``.

    Attributes:
        slot: Flat slot of every pair of what was shown, 0 for padding.
        label: Probability that each was chosen.
        mask: What was shown.
        user: Who chose.
        place: Flat entry of ``slot`` that stands in each slot of rows, its size where none does.
    """

    slot: Int[Array, "choice pair"]
    label: Float[Array, "choice shown"]
    mask: Bool[Array, "choice shown"]
    user: Int[Array, " choice"]
    place: Int[Array, "chunk slot"]


class ChoiceTable(NamedTuple):
    """Choices among three or more before they are laid out.

    Attributes:
        rows: A row for each pair of each choice.
        row: Number of the row of every pair, −1 for padding.
        label: Probability that each was chosen.
        mask: What was shown.
    """

    rows: Comparisons
    row: Int[np.ndarray, "choice pair"]
    label: Float[np.ndarray, "choice shown"]
    mask: Bool[np.ndarray, "choice shown"]


def separate(
    choices: Choices, num_users: int, num_responses: int
) -> tuple[Comparisons, ChoiceTable | None]:
    """Choices among two as comparisons, and all others as a table; a host function.

    Args:
        choices: Any; those of weight 0 are left out.
        num_users: Number of users.
        num_responses: Number of responses.

    Returns:
        Comparisons, and the table in one form: what is shown is sorted by response, the zero
        baseline last, equal choices are one of their summed weight, and choices are sorted. None
        where all are among two.

    Raises:
        ValueError: A choice is not legal; see `prefjax.data.choices.validate_choices`.
    """
    present = ~(np.asarray(choices.sample_weight) == 0)
    kept = Choices(*(np.asarray(column)[present] for column in choices))
    kept = validate_choices(kept, num_users, num_responses)
    user, shown, label, mask, weight = kept
    # What is shown comes first, in the order of responses with the baseline behind them.
    key = np.where(shown == BASELINE, num_responses, shown)
    order = np.argsort(np.where(mask, key, num_responses + 1), axis=1, kind="stable")
    shown, label, mask = (np.take_along_axis(part, order, 1) for part in (shown, label, mask))
    is_pair = mask.sum(axis=1) == 2
    two = Comparisons(*(c[is_pair] for c in (user, shown[:, 0], shown[:, 1], label[:, 0], weight)))
    if is_pair.all():
        return two, None
    parts = (part[~is_pair] for part in (user, shown, label, mask, weight))
    return two, _table(*parts)


def _table(user, shown, label, mask, weight) -> ChoiceTable:
    """The table of choices that are sorted within."""
    size = int(mask.sum(axis=1).max())
    shown, label, mask = shown[:, :size], label[:, :size], mask[:, :size]
    key = np.concatenate([user[:, None], np.where(mask, shown, BASELINE - 1), label], axis=1)
    _, first, index = np.unique(key, axis=0, return_index=True, return_inverse=True)
    total = np.bincount(index.reshape(-1), weight).astype(np.float32)
    user, shown, label, mask = (part[first] for part in (user, shown, label, mask))
    one, other = np.triu_indices(size, 1)
    is_pair = mask[:, one] & mask[:, other]
    choice, pair = np.nonzero(is_pair)
    count = is_pair.sum(axis=1)
    row = np.full(is_pair.shape, -1)
    row[choice, pair] = np.arange(len(choice))
    said = np.where(one[None] == 0, -label[:, other] * count[:, None], 0)
    rows = Comparisons(
        user[choice],
        shown[choice, one[pair]],
        shown[choice, other[pair]],
        said[choice, pair].astype(np.float32),
        (total / count).astype(np.float32)[choice],
    )
    return ChoiceTable(rows, row, label, mask)


def lay_out(
    table: ChoiceTable,
    num_before: int,
    order: Int[Array, "chunk slot"],
    user: Int[Array, " chunk"],
) -> ChoiceSlots:
    """Where the rows of a table went; a host function.

    Args:
        table: Its rows stand behind ``num_before`` others.
        num_before: How many.
        order: Row in each slot, −1 for padding.
        user: User of each chunk.
    """
    order = np.asarray(order)
    flat = order.reshape(-1)
    position = np.zeros(num_before + len(table.rows.user), np.int32)
    position[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
    slot = np.where(table.row >= 0, position[num_before + table.row], 0).astype(np.int32)
    place = np.full(flat.shape, slot.size, np.int32)
    there = table.row >= 0
    place[slot[there]] = np.flatnonzero(there)
    return ChoiceSlots(
        slot=slot,
        label=table.label,
        mask=table.mask,
        user=np.asarray(user)[slot[:, 0] // order.shape[1]],
        place=place.reshape(order.shape),
    )


def expectation(
    row: Expectation,
    features: Float[Array, "chunk slot factor"],
    location: Float[Array, "chunk slot"],
    covariance: Float[Array, "user factor factor"] | None,
    choices: ChoiceSlots,
    posterior_scale: Float[Array, ""],
    bound: Bound,
) -> Expectation:
    """Row expectations with those of the choices in their slots.

    Args:
        row: Of all slots as if they were comparisons.
        features: φ_i − φ_j of every slot.
        location: Expected logit of every slot.
        covariance: Of the users; None for N(0, I).
        choices: Where choices stand.
        posterior_scale: Factor on the covariances.
        bound: Which expectation.
    """
    size = choices.mask.shape[1]
    spread = None
    if features.shape[-1]:
        gap = features.reshape(-1, features.shape[-1])[choices.slot[:, : size - 1]]
        gap = jnp.where(choices.mask[:, 1:, None], gap, 0)
        told = (
            gap if covariance is None else jnp.einsum("csj,cjl->csl", gap, covariance[choices.user])
        )
        spread = posterior_scale * jnp.einsum("csl,ctl->stc", told, gap)
        spread = jnp.pad(spread, ((1, 0), (1, 0), (0, 0)))
    of_choices = softmax_bound.bound if bound == "jaakkola" else softmax_expectation.expect
    found = of_choices(_rewards(location, choices).T, spread, choices.mask.T)
    one, other = np.triu_indices(size, 1)
    count = jnp.sum(_is_pair(choices), axis=1)[:, None]
    return Expectation(
        value=_to_slots(found.value[:, None], row.value, choices),
        slope=_to_slots(_by_gap(found.probability.T, choices), row.slope, choices),
        curvature=_to_slots(-count * found.curvature[one, other].T, row.curvature, choices),
    )


def slope(
    plain: Float[Array, "chunk slot"], location: Float[Array, "chunk slot"], choices: ChoiceSlots
) -> Float[jax.Array, "chunk slot"]:
    """The slopes of `expectation` where rewards are known.

    Args:
        plain: Of all slots as if they were comparisons.
        location: Logit of every slot.
        choices: Where choices stand.
    """
    logit = jnp.where(choices.mask, _rewards(location, choices), -jnp.inf)
    return _to_slots(_by_gap(jax.nn.softmax(logit, axis=1), choices), plain, choices)


def loss(
    plain: Float[Array, "chunk slot"], slopes: Float[Array, "chunk slot"], choices: ChoiceSlots
) -> Float[jax.Array, "chunk slot"]:
    """``−Σ y log p`` of every choice in each of its slots, from slopes that are expectations.

    Args:
        plain: Losses of the other slots.
        slopes: Of `expectation`.
        choices: Where choices stand.
    """
    size = choices.mask.shape[1]
    count = jnp.sum(_is_pair(choices), axis=1)[:, None]
    some = -slopes.reshape(-1)[choices.slot[:, : size - 1]] / count
    some = jnp.where(choices.mask[:, 1:], some, 0)
    probability = jnp.concatenate([1 - some.sum(axis=1, keepdims=True), some], axis=1)
    said = choices.label * jnp.log(jnp.clip(probability, 1e-6, 1))
    return _to_slots(-jnp.sum(said, axis=1, keepdims=True), plain, choices)


def together(
    is_drawn: Bool[Array, "chunk slot"], choices: ChoiceSlots, *, leads: bool
) -> Bool[jax.Array, "chunk slot"]:
    """A draw of slots that tears no choice apart.

    Args:
        is_drawn: Of every slot by itself.
        choices: Where choices stand.
        leads: Whether the first slot of a choice decides for it, or all of them must be drawn.
    """
    drawn = jnp.asarray(is_drawn).reshape(-1)[choices.slot]
    whole = drawn[:, 0] if leads else jnp.all(drawn | ~_is_pair(choices), axis=1)
    return _to_slots(whole[:, None], is_drawn, choices)


def _rewards(location: Array, choices: ChoiceSlots) -> jax.Array:
    """Rewards minus that of the first that was shown, 0 for padding."""
    gap = jnp.asarray(location).reshape(-1)[choices.slot[:, : choices.mask.shape[1] - 1]]
    return jnp.pad(jnp.where(choices.mask[:, 1:], -gap, 0), ((0, 0), (1, 0)))


def _is_pair(choices: ChoiceSlots) -> jax.Array:
    one, other = np.triu_indices(choices.mask.shape[1], 1)
    return jnp.asarray(choices.mask[:, one] & choices.mask[:, other])


def _by_gap(probability: Array, choices: ChoiceSlots) -> jax.Array:
    """Slopes in the gaps to the first, in the unit of a slot."""
    count = jnp.sum(_is_pair(choices), axis=1)[:, None]
    missing = choices.slot.shape[1] - (choices.mask.shape[1] - 1)
    return jnp.pad(-count * probability[:, 1:], ((0, 0), (0, missing)))


def _to_slots(values: Array, plain: Array, choices: ChoiceSlots) -> jax.Array:
    """Values of pairs, or of choices, where these stand; ``plain`` elsewhere."""
    flat = jnp.broadcast_to(values, choices.slot.shape).reshape(-1)
    inside = choices.place < flat.shape[0]
    return jnp.where(inside, flat[jnp.where(inside, choices.place, 0)], plain)

"""Worker clusters: people fall into K groups, each with a reward of its own.

    stage 1   s = (w + B z_u)·Δ,  z_u ∈ R^d, everything learned jointly (joint MAP)
    stage 2   k-means on z_u / ‖z_u‖, the best of several restarts
    stage 3   W_c = argmin Σ_{u ∈ c} ℓ(W_c·Δ, y) + τ/2 ‖W_c − (w + B z̄_c)‖², and, some times over,
              everybody to the group under which their answers are likeliest

A new person is the posterior over groups, ``s`` the log odds of the mixture; with ``argmax`` the
likeliest group alone. The number of groups is the smallest whose loss on held-out answers of the
training people cannot be told (two standard errors over people) from the best one: if there are no
groups, one is found.

The published code chooses K by eye and continues a language model for each group; it has no held-
out answers, no reassignment and no new people.

References:
    arXiv 2601.20760. `prefjax.families.k_means` for stage 2.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import basis
from prefjax.basis import EMConfig, Problem
from prefjax.basis import rows as layout
from prefjax.families import linear
from prefjax.families.contract import STATIC, Answers, Family, Number, clean
from prefjax.families.k_means import k_means, members
from prefjax.families.mixture import hedge, mixture_logit
from prefjax.numerics import softplus_loss
from prefjax.settings import check_settings
from prefjax.types import Array, Penalties, PRNGKey

STANDARD_ERRORS = 2.0
COLD_STEPS, WARM_STEPS = 4, 2  # of Newton, from the center of a group and from the last rewards


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        penalty: τ of stage 3.
        code_penalty: Prior precision of a response's base reward in stage 1.
        held: Part of the training answers from which the number of groups is chosen.
        max_clusters: Largest number of groups considered.
        num_clusters: The number of groups; None chooses it.
        code_size: d.
        num_restarts: Of k-means.
        num_reassign: Rounds of reassignment in stage 3.
        assign: A new person as a mixture of groups, or as the likeliest one.
    """

    penalty: Number = 30.0
    code_penalty: Number = 30.0
    held: Number = 0.25
    max_clusters: int = field(default=6, metadata=STATIC)
    num_clusters: int | None = field(default=None, metadata=STATIC)
    code_size: int = field(default=4, metadata=STATIC)
    num_restarts: int = field(default=10, metadata=STATIC)
    num_reassign: int = field(default=3, metadata=STATIC)
    assign: Literal["posterior", "argmax"] = field(default="posterior", metadata=STATIC)

    def __post_init__(self):
        check_settings(self, "max_clusters", "code_size", "num_restarts")
        if self.num_clusters is not None:
            check_settings(self, "num_clusters")


class Params(NamedTuple):
    """Groups.

    Attributes:
        weights: W; groups beyond the number found are empty.
        log_prior: Log share of the training people with rows, −inf for groups that are not there.
        code: z of every training person.
        cluster: Group of every training person.
        num_clusters: The number of groups found.
        held_loss: Held-out loss of 1, 2, … groups, in nats an answer; NaN if nothing was chosen.
    """

    weights: Float[Array, "cluster input"]
    log_prior: Float[Array, " cluster"]
    code: Float[Array, "user code"]
    cluster: Int[Array, " user"]
    num_clusters: Int[Array, ""]
    held_loss: Float[Array, " candidate"]


def _user_losses(
    data: Problem, weights: Float[Array, "cluster input"]
) -> Float[Array, "user cluster"]:
    """Summed loss of every person's rows under every group's reward."""
    logit = (linear.gaps(data) @ weights.T).reshape(*data.rows.label.shape, -1)
    label = linear.labels(data).reshape(data.rows.label.shape)[..., None]
    loss = softplus_loss(logit, jnp.broadcast_to(label, logit.shape))
    by_chunk = jnp.sum(data.rows.sample_weight[..., None] * loss, axis=1)
    return layout.sum_by_user(by_chunk, data.rows, len(data.count))


def _stage_one(key: PRNGKey, data: Problem, config: Config):
    """Codes, centered, and the head that turns ``[z, 1]`` into a reward."""
    penalties = Penalties(config.code_penalty, 0.25 * config.code_penalty, 0.0)
    config_em = EMConfig(num_factors=config.code_size)
    data = data._replace(standardizer=None)
    fitted, people, _ = basis.fit_block(key, data, penalties, config=config_em)
    return people.mean, fitted.params["out"]["kernel"]


def _fewest(by_user: Float[Array, "candidate user"], present: Bool[Array, " user"]):
    """The smallest number of groups that cannot be told from the best one, by held-out losses."""
    total = by_user.sum(1)
    excess = by_user - by_user[jnp.argmin(total)][None]
    centered = excess - excess.sum(1, keepdims=True) / jnp.maximum(jnp.sum(present), 1)
    error = jnp.sqrt(jnp.square(centered) @ present)
    return jnp.argmax(total <= jnp.min(total) + STANDARD_ERRORS * error) + 1


def _groups(key: PRNGKey, data: Problem, code, head, num_clusters, config: Config) -> Params:
    """Stages 2 and 3."""
    size = config.max_clusters
    present = jnp.asarray(data.count) > 0
    unit = code / jnp.maximum(jnp.linalg.norm(code, axis=1, keepdims=True), 1e-12)
    cluster = k_means(
        key, unit, num_clusters, present, max_clusters=size, num_restarts=config.num_restarts
    )
    absent = jnp.arange(size) >= num_clusters

    def rewards(cluster, start):
        member = members(cluster, present, size)
        mean = member.T @ code / jnp.maximum(member.sum(0), 1)[:, None]
        center = mean @ head[:, :-1].T + head[:, -1][None]
        given = member.T[:, data.rows.user][..., None] * data.rows.sample_weight[None]
        num_steps = COLD_STEPS if start is None else WARM_STEPS
        return linear.solve(
            data, given.reshape(size, -1), center, config.penalty, start=start, num_steps=num_steps
        )

    def reassign(carry, _):
        _, weight = carry
        losses = jnp.where(absent[None], jnp.inf, _user_losses(data, weight))
        cluster = jnp.argmin(losses, axis=1)
        return (cluster, rewards(cluster, weight)), None

    begun = cluster, rewards(cluster, None)
    (cluster, weight), _ = jax.lax.scan(reassign, begun, None, length=config.num_reassign)
    share = members(cluster, present, size).sum(0) + 1.0
    log_prior = jax.nn.log_softmax(jnp.where(absent, -jnp.inf, jnp.log(share)))
    return Params(weight, log_prior, code, cluster, num_clusters, held_loss=jnp.full(size, jnp.nan))


def fit(key: PRNGKey, data: Problem, config: Config) -> Params:
    """All three stages; ``key`` draws held-out answers and the starts of k-means.

    One scan runs stages 2 and 3 for 1, 2, … groups on what is not held out, and last for the number
    chosen, on everything.
    """
    if config.num_clusters is not None:
        config = replace(config, max_clusters=config.num_clusters)
    held_key, code_key, group_key = jax.random.split(key, 3)
    size, num_users, rows = config.max_clusters, len(data.count), data.rows
    held = jax.random.bernoulli(held_key, config.held, rows.label.shape)
    told = jnp.where(held, rows.sample_weight, 0.0)
    given = jnp.stack([rows.sample_weight - told, rows.sample_weight])

    def with_weight(weight):
        count = layout.sum_by_user(weight.sum(1), rows, num_users)
        return data._replace(rows=rows._replace(sample_weight=weight), count=count)

    codes, heads = jax.lax.map(
        lambda weight: _stage_one(code_key, with_weight(weight), config), given
    )

    chosen, asked = config.num_clusters is None, with_weight(told).count > 0

    def candidate(by_user, place):
        last = jnp.asarray(place == size, jnp.int32)
        final = _fewest(by_user, asked) if chosen else jnp.asarray(size)
        num_clusters = jnp.where(place == size, final, place + 1)
        part = with_weight(given[last])
        found = _groups(group_key, part, codes[last], heads[last], num_clusters, config)
        losses = _user_losses(with_weight(told), found.weights)
        own = jnp.take_along_axis(losses, found.cluster[:, None], axis=1)[:, 0]
        return by_user.at[place].set(own, mode="drop"), found

    begun = jnp.zeros((size, num_users))
    places = jnp.arange(size + 1) if chosen else jnp.asarray([size])
    by_user, found = jax.lax.scan(candidate, begun, places)
    found = jax.tree.map(lambda leaf: leaf[-1], found)
    mean = by_user.sum(1) / jnp.maximum(jnp.sum(told), 1e-12)
    return found._replace(held_loss=mean if chosen else jnp.full(size, jnp.nan))


def adapt(params: Params, answers: Answers, config: Config) -> Float[Array, " cluster"]:
    """Log posterior over groups; with ``argmax`` all of it on one, once there is an answer."""
    answers = clean(answers)
    logits = (answers.first - answers.second) @ params.weights.T
    posterior = hedge(params.log_prior, logits, answers.label, answers.sample_weight)
    if config.assign == "posterior":
        return posterior
    likeliest = jnp.arange(len(posterior)) == jnp.argmax(posterior)
    alone = jnp.where(likeliest, 0.0, -jnp.inf)
    return jnp.where(jnp.any(answers.sample_weight > 0), alone, posterior)


def logit(
    params: Params,
    state: Float[Array, " cluster"],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """Log odds of the mixture of groups."""
    return mixture_logit(state, params.weights @ (first - second))


def alarms(params: Params, data: Problem, config: Config) -> dict[str, Array]:
    """The number of groups, and the share of the smallest."""
    share = jnp.where(jnp.isfinite(params.log_prior), jnp.exp(params.log_prior), jnp.inf)
    return {"num_clusters": params.num_clusters, "smallest_share": jnp.min(share)}


def trials(config: Config) -> tuple[Config, ...]:
    """Penalties of the codes and of the groups."""
    return tuple(
        replace(config, penalty=penalty, code_penalty=code)
        for penalty in (10.0, 30.0, 100.0, 300.0)
        for code in (10.0, 100.0)
    )


CLUSTERS = Family("clusters", Config(), fit, adapt, logit, alarms, trials)

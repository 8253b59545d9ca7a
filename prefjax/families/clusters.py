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
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, choice, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.k_means import k_means, members
from prefjax.families.mixture import hedge, mixture_logit
from prefjax.families.population import user_rank
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, Penalties, PRNGKey

STANDARD_ERRORS = 2.0
COLD_STEPS, WARM_STEPS = 4, 2  # of Newton, from the center of a group and from the last rewards


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ of stage 3.
        code_penalty: Prior precision of a response's base reward in stage 1.
        held_out: Part of the training answers from which the number of groups is chosen.
        max_clusters: Largest number of groups considered.
        num_clusters: The number of groups; None chooses it.
        code_size: d.
        num_restarts: Of k-means.
        num_reassign: Rounds of reassignment in stage 3.
        assign: A new person as a mixture of groups, or as the likeliest one.
    """

    penalty: Number = field(default=30.0, metadata=POSITIVE)
    code_penalty: Number = field(default=30.0, metadata=POSITIVE)
    held_out: Number = 0.25
    max_clusters: int = integer(6)
    num_clusters: int | None = integer(None)
    code_size: int = integer(4)
    num_restarts: int = integer(10)
    num_reassign: int = integer(3, least=0)
    assign: Literal["posterior", "argmax"] = choice("posterior")


class Params(NamedTuple):
    """Groups.

    Attributes:
        weights: W; groups beyond the number found are empty.
        log_prior: Log share of the training people with rows, −inf for groups that are not there.
        code: z of every training person.
        cluster: Group of every training person.
        num_clusters: The number of groups found.
        held_out_loss: Held-out loss of 1, 2, … groups, in nats an answer; NaN if none was
            chosen.
    """

    weights: Float[Array, "cluster input"]
    log_prior: Float[Array, " cluster"]
    code: Float[Array, "user code"]
    cluster: Int[Array, " user"]
    num_clusters: Int[Array, ""]
    held_out_loss: Float[Array, " candidate"]


def _user_losses(
    problem: Problem, weights: Float[Array, "cluster input"]
) -> Float[Array, "user cluster"]:
    """Summed loss of every person's rows under every group's reward."""
    logit = (linear.gaps(problem) @ weights.T).reshape(*problem.rows.label.shape, -1)
    label = linear.labels(problem).reshape(problem.rows.label.shape)[..., None]
    loss = softplus_loss(logit, jnp.broadcast_to(label, logit.shape))
    by_chunk = jnp.sum(problem.rows.sample_weight[..., None] * loss, axis=1)
    return layout.sum_by_user(by_chunk, problem.rows, len(problem.count))


def _stage_one(key: PRNGKey, problem: Problem, config: Config):
    """Codes, centered, and the head that turns ``[z, 1]`` into a reward."""
    penalties = Penalties(config.code_penalty, 0.25 * config.code_penalty, jnp.float32(0.0))
    config_em = EMConfig(num_factors=config.code_size)
    problem = problem._replace(standardizer=None)
    fitted, people, _ = basis.fit_block(key, problem, penalties, config=config_em)
    return people.mean[problem.users], fitted.params["out"]["kernel"]


def _fewest(by_user: Float[Array, "candidate user"], present: Bool[Array, " user"]):
    """The smallest number of groups that cannot be told from the best one, by held-out losses."""
    total = by_user.sum(1)
    excess = by_user - by_user[jnp.argmin(total)][None]
    centered = excess - excess.sum(1, keepdims=True) / jnp.maximum(jnp.sum(present), 1)
    error = jnp.sqrt(jnp.square(centered) @ present)
    return jnp.argmax(total <= jnp.min(total) + STANDARD_ERRORS * error) + 1


def _groups(key: PRNGKey, problem: Problem, code, head, num_clusters, config: Config) -> Params:
    """Stages 2 and 3."""
    size = config.max_clusters
    present = jnp.asarray(problem.count) > 0
    unit = code / jnp.maximum(jnp.linalg.norm(code, axis=1, keepdims=True), 1e-12)
    cluster = k_means(
        key, unit, num_clusters, present, max_clusters=size, num_restarts=config.num_restarts
    )
    absent = jnp.arange(size) >= num_clusters

    def rewards(cluster, start):
        member = members(cluster, present, size)
        mean = member.T @ code / jnp.maximum(member.sum(0), 1)[:, None]
        center = mean @ head[:, :-1].T + head[:, -1][None]
        row_weight = member.T[:, problem.rows.user][..., None] * problem.rows.sample_weight[None]
        num_steps = COLD_STEPS if start is None else WARM_STEPS
        return linear.solve(
            problem,
            row_weight.reshape(size, -1),
            center,
            config.penalty,
            start=start,
            num_steps=num_steps,
        )

    def reassign(carry, _):
        _, weight = carry
        losses = jnp.where(absent[None], jnp.inf, _user_losses(problem, weight))
        cluster = jnp.argmin(losses, axis=1)
        return (cluster, rewards(cluster, weight)), None

    init = cluster, rewards(cluster, None)
    (cluster, weight), _ = jax.lax.scan(reassign, init, None, length=config.num_reassign)
    share = members(cluster, present, size).sum(0) + 1.0
    log_prior = jax.nn.log_softmax(jnp.where(absent, -jnp.inf, jnp.log(share)))
    return Params(
        weight, log_prior, code, cluster, num_clusters, held_out_loss=jnp.full(size, jnp.nan)
    )


def _hold_out(key: PRNGKey, problem: Problem, part: Number) -> Bool[Array, "chunk slot"]:
    """Rows held out at random: all that one person says about one pair, or none of it."""

    def drawn(user, pair):
        return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, user), pair), part)

    user = user_rank(problem)[problem.rows.user]
    return jax.vmap(jax.vmap(drawn, in_axes=(None, 0)))(user, problem.rows.pair)


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """All three stages; ``key`` draws held-out answers and the starts of k-means.

    One scan runs stages 2 and 3 for 1, 2, … groups on what is not held out, and last for the number
    chosen, on everything.
    """
    if config.num_clusters is not None:
        config = replace(config, max_clusters=config.num_clusters)
    held_out_key, code_key, group_key = jax.random.split(key, 3)
    size, num_users, rows = config.max_clusters, problem.num_users, problem.rows
    is_held_out = _hold_out(held_out_key, problem, config.held_out)
    held_out = jnp.where(is_held_out, rows.sample_weight, 0.0)
    fitted = jnp.stack([rows.sample_weight - held_out, rows.sample_weight])

    def with_weight(weight):
        count = layout.sum_by_user(weight.sum(1), rows, num_users)
        return problem._replace(rows=rows._replace(sample_weight=weight), count=count)

    codes, heads = jax.lax.map(
        lambda weight: _stage_one(code_key, with_weight(weight), config), fitted
    )

    is_chosen, asked = config.num_clusters is None, with_weight(held_out).count > 0

    def candidate(by_user, place):
        last = jnp.asarray(place == size, jnp.int32)
        final = _fewest(by_user, asked) if is_chosen else jnp.asarray(size)
        num_clusters = jnp.where(place == size, final, place + 1)
        part = with_weight(fitted[last])
        params = _groups(group_key, part, codes[last], heads[last], num_clusters, config)
        losses = _user_losses(with_weight(held_out), params.weights)
        own = jnp.take_along_axis(losses, params.cluster[:, None], axis=1)[:, 0]
        return by_user.at[place].set(own, mode="drop"), params

    init = jnp.zeros((size, num_users))
    places = jnp.arange(size + 1) if is_chosen else jnp.asarray([size])
    by_user, params = jax.lax.scan(candidate, init, places)
    params = jax.tree.map(lambda leaf: leaf[-1], params)
    mean = by_user.sum(1) / jnp.maximum(jnp.sum(held_out), 1e-12)
    return params._replace(held_out_loss=mean if is_chosen else jnp.full(size, jnp.nan))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Log posterior over groups; with ``argmax`` all of it on one, once there is an answer."""
    answers = clean(answers)
    logits = (answers.first - answers.second) @ params.weights.T
    posterior = hedge(params.log_prior, logits, answers.label, answers.sample_weight)
    if config.assign == "posterior":
        return posterior
    likeliest = jnp.arange(len(posterior)) == jnp.argmax(posterior)
    alone = jnp.where(likeliest, 0.0, -jnp.inf)
    return jnp.where(jnp.any(answers.sample_weight > 0), alone, posterior)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """Log odds of the mixture of groups."""
    return mixture_logit(state, params.weights @ (first - second))


def diagnostics(params: Params, problem: Problem, config: Config) -> dict[str, Array]:
    """The number of groups, and the share of the smallest."""
    share = jnp.where(jnp.isfinite(params.log_prior), jnp.exp(params.log_prior), jnp.inf)
    return {"num_clusters": params.num_clusters, "smallest_share": jnp.min(share)}


CLUSTERS = Family(
    "clusters",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(10.0, 30.0, 100.0, 300.0), code_penalty=(10.0, 100.0)),
    diagnostics,
)

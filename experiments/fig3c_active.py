"""How many answers does a good choice of questions save? Fig. 3C of the paper.

    python -m experiments.fig3c_active smoke     # two seeds
    python -m experiments.fig3c_active paper     # four seeds, some minutes on two cores

Expected with four seeds: 5 chosen answers are worth 9.2 random ones (ratio 1.85 [1.70, 1.98]), 10
are worth 32.4 (3.24 [2.72, 4.92]) and 15 are worth 51.5 (3.44 [2.13, 3.94]).

PReF is fitted to the training people of the Attributes world (simulated people, real differences
in text). New people are then asked pairs of answers to the prompts that everybody saw, at random or
chosen by a rule, and scored on prompts that nobody saw. The gap: after how many random answers is
the AUC as good as after n chosen ones? Published, on other texts and people: 15 against over 40,
a ratio of 2.7. Intervals are bootstrap over seeds.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.data.attributes import World, WorldConfig, choose, make_world, split_world
from prefjax.encoders import make_hashed
from prefjax.families import get_family, make_data
from prefjax.lab import compare, plots, runs
from prefjax.person import ElicitConfig, ResponsePool, elicit, gap_at
from prefjax.types import Array, GaussianPrior, Items, PRNGKey, UserBatch


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Worlds.
        world: Size and noise of a world.
        new_users: Part of the people who are new.
        num_inputs: Principal components of the text embedding.
        rules: Rules that choose; ``random`` is always run.
        num_random: Random questions to each person.
        num_chosen: Chosen questions to each person.
        gaps: Numbers of chosen answers whose worth in random ones is reported.
    """

    num_seeds: int = 4
    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    num_inputs: int = 64
    rules: tuple[str, ...] = ("d_optimal",)
    num_random: int = 60
    num_chosen: int = 16
    gaps: tuple[int, ...] = (5, 10, 15)


PRESETS = {"smoke": Config(num_seeds=2, num_random=40, num_chosen=15), "paper": Config()}


class Told(NamedTuple):
    """What one seed is computed from.

    Attributes:
        key: Drives questions and answers.
        items: What the model knows of every response.
        prior: Of a new person.
        seen: Responses of each seen prompt, the pool of questions.
        attributes: What the judge measured in every response.
        weights: True weights of the new people.
        test: Their answers on new prompts.
    """

    key: PRNGKey
    items: Items
    prior: GaussianPrior
    seen: Int[Array, "prompt response"]
    attributes: Float[Array, "response attribute"]
    weights: Float[Array, "user attribute"]
    test: UserBatch


@partial(jax.jit, static_argnames=("config", "rule", "num_questions"))
def interview(told: Told, config: Config, rule: str, num_questions: int):
    """AUC of every new person after 0, 1, … answers: [answers, user]."""
    features, utility = (jnp.asarray(part) for part in told.items)
    mask = jnp.ones(told.seen.shape, bool)
    pool = ResponsePool(features[told.seen], utility[told.seen], mask)
    truth = ResponsePool(jnp.asarray(told.attributes)[told.seen], jnp.zeros(mask.shape), mask)
    settings = ElicitConfig(num_questions=num_questions, rule=rule)

    def one(person, weight, test):
        ask_key, answer_key = jax.random.split(jax.random.fold_in(told.key, person))

        def answer(_, index):
            # Noise of the person and the question, so that every rule hears the same answer.
            noise = jax.random.fold_in(answer_key, index)
            return choose(noise, gap_at(truth, index).features @ weight, config.world.choice)

        path = jnp.asarray(elicit(ask_key, pool, answer, told.prior, settings).weights)
        logit = path @ (features[test.first] - features[test.second]).T
        logit = logit + (utility[test.first] - utility[test.second])[None]
        return jax.vmap(metrics.auc, in_axes=(0, None, None))(logit, test.label, test.mask)

    return jax.vmap(one)(jnp.arange(len(told.weights)), told.weights, told.test).T


def curves_of_seed(seed: int, config: Config) -> dict[str, np.ndarray]:
    """AUC by rule, ``[answers, user]``."""
    world: World = make_world(config.world, seed)
    split = split_world(world, new_users=config.new_users, seed=seed)
    texts = make_hashed().encode(world.dataset.responses)
    table = compare.text_block(texts, world.seen.reshape(-1), config.num_inputs)
    family = get_family("pref")
    data = make_data(split.train, table, num_users=len(split.known_users), unit=split.group)
    params = jax.jit(family.fit)(jax.random.key(seed), data, family.config)
    described = table @ np.asarray(params.head)
    told = Told(
        key=jax.random.key(seed),
        items=Items(described[:, :-1], described[:, -1]),
        prior=params.prior,
        seen=world.seen,
        attributes=world.attributes.astype(np.float32),
        weights=world.weights[split.new_users].astype(np.float32),
        test=jax.tree.map(jnp.asarray, split.by_user("test", config.world.test_length)),
    )
    asked = {"random": config.num_random} | dict.fromkeys(config.rules, config.num_chosen)
    return {rule: np.asarray(interview(told, config, rule, n)) for rule, n in asked.items()}


def answers_needed(curve: np.ndarray, target: float) -> float:
    """Answers after which a curve reaches a value, by straight lines between two; ∞ if never.

    The curve is made monotone first: noise that lifts one point early must not count.
    """
    rising = np.minimum.accumulate(curve[::-1])[::-1]
    if rising[-1] < target:
        return float("inf")
    after = int(np.argmax(rising >= target))
    if after == 0:
        return 0.0
    low, high = rising[after - 1], rising[after]
    return after - 1 + float((target - low) / (high - low))


def gap(random: np.ndarray, chosen: np.ndarray, number: int) -> tuple[float, float, float]:
    """Random answers worth ``number`` chosen ones, with a bootstrap interval over seeds.

    Args:
        random: ``[seed, answers]``.
        chosen: The same of the rule.
        number: Chosen answers.
    """
    rng = np.random.default_rng(0)
    draws = [np.arange(len(random)), *rng.integers(len(random), size=(1000, len(random)))]
    values = [answers_needed(random[d].mean(0), chosen[d].mean(0)[number]) for d in draws]
    low, high = np.quantile(values[1:], [0.025, 0.975], method="nearest")
    return values[0], float(low), float(high)


def run(config: Config) -> runs.Result:
    """Both curves and what the choice of questions is worth."""
    each = [curves_of_seed(seed, config) for seed in range(config.num_seeds)]
    means = {rule: np.stack([np.nanmean(e[rule], axis=1) for e in each]) for rule in each[0]}
    rows = [
        {
            "method": "pref",
            "dataset": "attributes",
            "questions": rule,
            "seed": seed,
            "num_answers": number,
            "metric": "auc_user",
            "value": value,
        }
        for rule, curves in means.items()
        for (seed, number), value in np.ndenumerate(curves)
        if number <= 20 or number % 5 == 0
    ]
    lines = ["Simulated people. Random answers that are worth as much as chosen ones:"]
    for rule in config.rules:
        for number in config.gaps:
            worth, low, high = gap(means["random"], means[rule], number)
            lines.append(
                f"{number} {plots.label(rule)}: {worth:.1f} random "
                f"(ratio {worth / number:.2f} [{low / number:.2f}, {high / number:.2f}])"
            )
            ends = {"value": worth / number, "low": low / number, "high": high / number}
            rows.append(
                {
                    "method": "pref",
                    "dataset": "attributes",
                    "questions": rule,
                    "num_answers": number,
                    "metric": "answers_ratio",
                    **ends,
                }
            )
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """AUC by number of answers, with the gap at the largest number drawn in."""
    figure = plots.learning_curves(result.table)
    found = [row for row in result.rows if row["metric"] == "answers_ratio"]
    last = found[-1]
    number, worth = last["num_answers"], last["num_answers"] * last["value"]
    values = [
        row["value"]
        for row in result.rows
        if (row["metric"], row["questions"], row["num_answers"])
        == ("auc_user", last["questions"], number)
    ]
    if np.isfinite(worth):
        height = float(np.mean(values))
        axes = figure.axes[0]
        axes.annotate(
            "", (worth, height), (number, height), arrowprops={"arrowstyle": "<->", "lw": 0.8}
        )
        axes.annotate(f"× {last['value']:.1f}", (worth, height), fontsize=7, va="bottom")
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

"""How many answers does it take to know a new person? Simulated people, real differences in text.

    python -m experiments.quickstart smoke     # 2 seeds
    python -m experiments.quickstart paper     # 10 seeds, 95 s on two cores; `make quickstart`

Expected with ten seeds, AUC of new people on new prompts: at 10 answers ``pref`` .699 with random
and .756 with D-optimal questions, population .520; personal − population +.236 [+.198, +.273].

In the Attributes world simulated people with two traits each (polite and concise, say) compare
answers that differ in seven attributes. A fifth of the people is new; they answer questions on the
prompts that everybody saw and are scored on prompts, and phrasings, that nobody saw. Every seed
writes its own texts and draws its own people. Side by side, on the same rows:

    population   a Bradley–Terry reward for everybody: the same program with the factors shut off
    per-user     ridge logistic regression on text embeddings from the person's answers alone
    pref-map     PReF as published: joint MAP at a fixed penalty, zero-mean ridge for the new person
    pref         the default: learned penalties and temperature, population prior

each with random and with D-optimal questions; the controls ``wrong-user`` (another new person's
weights) and ``shuffled-users`` (training answers dealt out to random people); and as the ceiling
``oracle``, the true weights on the true attributes. Intervals are Student's t over seeds.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from prefjax import factorization, metrics, plots, runs
from prefjax.adapt import adapt, ridge_prior
from prefjax.data.attributes import World, WorldConfig, choose, cut, make_world
from prefjax.data.group import group_by_user
from prefjax.elicit import ElicitConfig, ResponsePool, elicit, gap_at
from prefjax.encoders import encode_responses, get_encoder
from prefjax.factorization import EMConfig, Rows, Strength
from prefjax.types import Array, Comparisons, GaussianPrior, Items, PRNGKey, UserBatch

RULES = ("random", "d_optimal")
ORDER = ("population", "per-user", "pref-map", "pref", "oracle")


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Worlds, each with its own texts, people, split and noise.
        world: Size and noise of a world.
        new_users: Part of the people who are new.
        encoder: What reads the texts, a name for `get_encoder`.
        num_factors: J of PReF.
        num_inputs: Principal components of the text embedding that the head of PReF sees.
        num_own_inputs: Those that the model of one person alone sees.
        own_ridges: Candidate ridges of ``per-user``; training users on new prompts choose.
        own_answers: Answers of a training user from which that choice is made.
        num_answers: Where the curves are read off.
    """

    num_seeds: int = 10
    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    encoder: str = "hashed"
    num_factors: int = 6
    num_inputs: int = 64
    num_own_inputs: int = 32
    own_ridges: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    own_answers: int = 20
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)


PRESETS = {"smoke": Config(num_seeds=2), "paper": Config()}

PUBLISHED = 1.0, 0.1, 0.0
"""Fields of `Strength` for joint MAP with little penalty."""
SHUT = 1e6
"""Penalty under which the factors vanish and the shared utility remains."""


class Draw(NamedTuple):
    """One seed, the same shapes in every seed.

    Attributes:
        key: Drives fits, questions and answers.
        practice: A few answers of the training people on seen prompts.
        validation: Their answers on new prompts.
        test: Answers of the new people on new prompts.
        seen: Responses of each seen prompt, the pool of questions.
        prompt_of: Prompt of every response.
        embeddings: What the methods know of every response.
        attributes: What the judge measured in it.
        weight: True weights of the new people.
    """

    key: PRNGKey
    practice: UserBatch
    validation: UserBatch
    test: UserBatch
    seen: Int[Array, "prompt response"]
    prompt_of: Int[Array, " response"]
    embeddings: Float[Array, "response input"]
    attributes: Float[Array, "response attribute"]
    weight: Float[Array, "user attribute"]


class Model(NamedTuple):
    """Items with the prior under which a new person is solved."""

    items: Items
    prior: GaussianPrior


def embed(world: World, config: Config) -> Float[np.ndarray, "response input"]:
    """Principal components of the text embeddings; training prompts alone define them."""
    is_test = world.test_prompt[world.dataset.prompt_of]
    embedding = encode_responses(get_encoder(config.encoder), world.dataset)
    width = min(max(config.num_inputs, config.num_own_inputs), int(np.sum(~is_test)))
    axes = PCA(width, svd_solver="covariance_eigh").fit(embedding[~is_test])
    return axes.transform(embedding).astype(np.float32)


def draw(config: Config, seed: int) -> tuple[Comparisons, Draw]:
    """Writes a world, encodes it, and cuts people and prompts into the four cells; host only."""
    world = make_world(config.world, seed)
    cells = cut(world, new_users=config.new_users, seed=seed)
    practice = group_by_user(
        cells.train, len(cells.old), length=config.own_answers, longer="truncate"
    )
    return cells.train, Draw(
        key=jax.random.key(seed),
        practice=practice,
        validation=cells.validation,
        test=cells.test,
        seen=cells.seen,
        prompt_of=world.dataset.prompt_of,
        embeddings=embed(world, config),
        attributes=world.attributes.astype(np.float32),
        weight=world.weight[cells.new].astype(np.float32),
    )


def gaps(table: Float[Array, "response *feature"], batch: UserBatch) -> jax.Array:
    """First minus second entry of a table for every pair of a batch."""
    return jnp.asarray(table)[batch.first] - jnp.asarray(table)[batch.second]


def train_pref(key: PRNGKey, rows: Rows, shuffled: Rows, data: Draw, config: Config):
    """PReF, PReF as published and PReF on shuffled users, stacked; and the population's utility."""
    embeddings = data.embeddings[:, : config.num_inputs]
    static = {
        "num_users": data.practice.label.shape[0],
        "num_responses": len(embeddings),
        "config": EMConfig(num_factors=config.num_factors),
    }
    fit_learned = partial(
        factorization.fit_learned, key, embeddings=embeddings, unit=data.prompt_of, **static
    )
    learned, search = jax.lax.map(lambda r: fit_learned(rows=r), stack(rows, shuffled))
    chosen = search.strength.utility_penalty[0, search.chosen[0]]
    shut = Strength(jnp.float32(SHUT), chosen, jnp.float32(0))
    fit = partial(factorization.fit, key, rows, embeddings, **static)
    given = jax.lax.map(
        lambda s: fit(strength=s), stack(Strength(*map(jnp.float32, PUBLISHED)), shut)
    )
    default, null = (Model(*at((learned.items, learned.prior), i)) for i in (0, 1))
    published = Model(at(given.items, 0), ridge_prior(config.num_factors, 1.0))
    return stack(default, published, null), given.items.utility[1]


def train_own(data: Draw, config: Config) -> Model:
    """Text features for a model of one person alone, with the ridge that suits training people."""
    width = config.num_own_inputs
    features = data.embeddings[:, :width]
    features = features / jnp.sqrt(jnp.mean(jnp.sum(jnp.square(features), axis=1)))
    asked, tested = gaps(features, data.practice), gaps(features, data.validation)
    eye = jnp.eye(width)

    def loss(ridge):
        batch, prior = data.practice, GaussianPrior(jnp.zeros(width), ridge * eye)
        zero = jnp.zeros_like(batch.label)
        weight = adapt(asked, zero, batch.label, batch.weight, prior=prior).weight
        nll = metrics.nll(jnp.einsum("upj,uj->up", tested, weight), data.validation.label)
        return jnp.sum(nll * data.validation.weight)

    ridges = jnp.asarray(config.own_ridges)
    best = ridges[jnp.argmin(jax.lax.map(loss, ridges))]
    items = Items(features=features, utility=jnp.zeros(len(features)))
    return Model(items, GaussianPrior(jnp.zeros(width), best * eye))


def stack(*trees):
    """The same tree with a leading axis over those given."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def at(tree, index):
    """One entry, or a slice, of a stacked tree."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], tree)


def interview(model: Model, rule: str, data: Draw, config: Config) -> jax.Array:
    """Weights of every new person after the given numbers of answers: [user, answers, factor]."""
    num_prompts, num_responses = data.seen.shape
    mask = jnp.ones((num_prompts, num_responses), bool)
    pool = ResponsePool(model.items.features[data.seen], model.items.utility[data.seen], mask)
    truth = ResponsePool(data.attributes[data.seen], jnp.zeros(mask.shape), mask)
    elicit_config = ElicitConfig(num_questions=max(config.num_answers), rule=rule)

    def one(person: jax.Array, weight: Float[Array, " attribute"]):
        ask_key, answer_key = jax.random.split(jax.random.fold_in(data.key, person))

        def answer(_, index):
            # Noise of the person and the question, so that every method hears the same answer.
            key = jax.random.fold_in(answer_key, index)
            return choose(key, gap_at(truth, index).features @ weight, config.world.choice)

        return elicit(ask_key, pool, answer, model.prior, elicit_config).weight

    path = jax.vmap(one)(jnp.arange(len(data.weight)), data.weight)
    return jnp.asarray(path)[:, jnp.asarray(config.num_answers)]


def measure(items: Items, path: Float[Array, "user answers factor"], test: UserBatch):
    """Mean over new people of AUC and NLL after each number of answers."""
    logit = jnp.einsum("upj,unj->nup", gaps(items.features, test), path)
    logit = logit + gaps(items.utility, test)[None]
    each = jax.vmap(jax.vmap(metrics.auc), in_axes=(0, None, None))
    nll = jax.vmap(metrics.nll, in_axes=(0, None))(logit, test.label)
    nll = jnp.where(test.mask[None], nll, 0.0).sum(2)
    return {
        "auc_user": jnp.nanmean(each(logit, test.label, test.mask), axis=1),
        "nll": jnp.mean(nll / test.mask.sum(1)[None], axis=1),
    }


def one_seed(rows: Rows, shuffled: Rows, data: Draw, config: Config) -> dict:
    """Curves of one seed by ``method/questions/control``; pure, one program for every seed."""
    score = partial(measure, test=data.test)
    models, utility = train_pref(data.key, rows, shuffled, data, config)
    own = train_own(data, config)
    shape = len(data.weight), len(config.num_answers)
    zeros = jnp.zeros((*shape, config.num_factors))
    shared = Items(jnp.zeros((len(utility), config.num_factors)), utility)
    truth = Items(data.attributes, jnp.zeros_like(utility))
    known = config.world.choice.sharpness * data.weight
    known = jnp.broadcast_to(known[:, None, :], (*shape, known.shape[1]))
    curves = {"population//": score(shared, zeros), "oracle//": score(truth, known)}
    names = "pref/{}/", "pref-map/{}/", "pref/{}/shuffled-users"
    for rule in RULES:
        ask = partial(interview, rule=rule, data=data, config=config)
        curves[f"per-user/{rule}/"] = score(own.items, ask(own))
        paths = jax.lax.map(ask, models)
        for i, name in enumerate(names):
            curves[name.format(rule)] = score(at(models.items, i), paths[i])
        another = jnp.roll(paths[0], len(data.weight) // 2, axis=0)
        curves[f"pref/{rule}/wrong-user"] = score(at(models.items, 0), another)
    return curves


def draw_all(config: Config) -> tuple[Rows, Rows, Draw]:
    """All seeds, stacked."""
    trains, draws = zip(*(draw(config, seed) for seed in range(config.num_seeds)), strict=True)
    shuffle = np.random.default_rng(config.num_seeds).permutation
    nulls = [train._replace(user=shuffle(train.user)) for train in trains]
    num_responses = len(draws[0].attributes)
    rows = factorization.stack_rows([*trains, *nulls], num_responses)
    half = len(trains)
    true, null = at(rows, slice(None, half)), at(rows, slice(half, None))
    return true, null, stack(*draws)


def place(name: str) -> tuple:
    """Where a curve stands in the table: controls last, the methods as in the docstring."""
    method, questions, control = name.split("/")
    return control, ORDER.index(method), questions != "random"


def tidy_rows(curves: dict, config: Config) -> list[dict]:
    """One row per curve, seed, number of answers and metric."""
    rows = []
    for name, measured in sorted(curves.items(), key=lambda curve: place(curve[0])):
        method, questions, control = (part or None for part in name.split("/"))
        for metric, values in measured.items():
            for (seed, i), value in np.ndenumerate(np.asarray(values)):
                rows.append(
                    {
                        "method": method,
                        "dataset": "attributes",
                        "questions": questions,
                        "control": control,
                        "seed": seed,
                        "num_answers": config.num_answers[i],
                        "metric": metric,
                        "value": value,
                    }
                )
    return rows


def headline(curves: dict, config: Config) -> str:
    """Personal − population where ten answers are in, paired by seed."""
    number = max((n for n in config.num_answers if n <= 10), default=0)
    place = config.num_answers.index(number)
    lines = ["The people and their answers are simulated; the texts are written by the simulation."]
    for control in ("", "shuffled-users"):
        for rule in RULES:
            personal, shared = (
                np.asarray(curves[name]["auc_user"])[:, place]
                for name in (f"pref/{rule}/{control}", "population//")
            )
            value, low, high, _ = metrics.mean_interval(personal - shared)
            lines.append(
                f"{control or 'personal'} − population at {number} answers, {plots.label(rule)}: "
                f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
    return "\n".join(lines)


def run(config: Config) -> runs.Result:
    """All curves of all seeds; the seeds are one program."""
    stacked = draw_all(config)

    @jax.jit
    def every_seed(rows, shuffled, data):
        return jax.lax.map(lambda s: one_seed(s[0], s[1], s[2], config), (rows, shuffled, data))

    curves = jax.device_get(every_seed(*stacked))
    rows = tidy_rows(curves, config)
    table = plots.make_table(runs.tidy(rows))
    return runs.Result(rows=rows, summary=f"{table}\n\n{headline(curves, config)}")


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers; controls and the ceiling stay in the table."""
    drawn = [row for row in result.rows if not row["control"] and row["method"] != "oracle"]
    # Whoever hears no answers is the same under every rule.
    panels = [
        {**row, "questions": rule}
        for rule in RULES
        for row in drawn
        if row["questions"] in (None, rule)
    ]
    return plots.learning_curves(runs.tidy(panels), panel="questions")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

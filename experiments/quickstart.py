"""How many answers does it take to know a new person? Simulated people, real differences in text.

    python -m experiments.quickstart smoke     # 2 seeds
    python -m experiments.quickstart paper     # 10 seeds, two minutes; `make quickstart`

Expected with ten seeds, AUC of new people on new prompts: at 10 answers ``pref`` .702 with random
and .747 with D-optimal questions, population .518; personal − population +.229 [+.204, +.253].
The best of sixteen by a person's own model wins .732 [.717, .747] over the default.

In the Attributes world simulated people with two traits each (polite and concise, say) compare
answers that differ in seven attributes. A fifth of the people is new; they answer questions on the
prompts that everybody saw and are scored on prompts, and phrasings, that nobody saw. Every seed
writes its own texts and draws its own people. Side by side, on the same rows:

    population   a Bradley–Terry reward for everybody
    per-user     ridge logistic regression on text embeddings from the person's answers alone
    pref-map     PReF as published: joint MAP at a fixed penalty, zero-mean ridge for the new person
    pref         the default: learned penalties and posterior scale, population prior

each with random and with D-optimal questions; the controls ``wrong-user`` (another new person's
weights) and ``shuffled-users`` (training answers, and answers to every question under either rule,
dealt out to random people); and as the ceiling
``oracle``, the true weights on the true attributes. Intervals are Student's t over people.

``win_rate`` is how often the simulated judge prefers the best of sixteen answers to a new prompt,
chosen by the person's model, to the one that everybody is served. Last comes one prompt as two
different people are answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.data.attributes import WorldConfig, expected_label
from prefjax.lab import compare, plots, runs, show


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Worlds, each with its own texts, people, split and noise.
        world: Size and noise of a world.
        new_users: Part of the people who are new.
        encoder: What reads the texts, a name for `get_encoder`.
        num_factors: J of PReF.
        num_inputs: Principal components of the text embedding that the methods see.
        num_own_inputs: Those that the model of one person alone sees.
        num_answers: Where the curves are read off.
    """

    num_seeds: int = 10
    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    encoder: str = "hashed"
    num_factors: int = 6
    num_inputs: int = 64
    num_own_inputs: int = 32
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)


PRESETS = {"smoke": Config(num_seeds=2), "paper": Config()}
RULES = ("random", "d_optimal")
NAMES = {"bradley-terry": "population"}
ORDER = ("population", "per-user", "pref-map", "pref", "oracle")
CONTROLS = ("wrong-user", "shuffled-users")


def make_sources(config: Config) -> list[compare.Source]:
    """A world for every seed, embedded and divided."""
    sizes = {"new_users": config.new_users, "num_inputs": config.num_inputs}
    return [
        compare.attributes(config.encoder, seed, config.world, **sizes)
        for seed in range(config.num_seeds)
    ]


def oracle(source: compare.Source, seed: int, num_answers: Sequence[int]) -> compare.Cell:
    """The true weights on the true attributes, whatever was answered."""
    people, tests = source.people, source.draw.tests
    assert people is not None
    attributes, weights = people.attributes, people.weights
    gap = attributes[tests.first] - attributes[tests.second]
    logit = people.choice.sharpness * np.einsum("upa,ua->up", gap, weights)
    loss = np.where(tests.mask, metrics.nll(logit, tests.label), np.nan)
    utility = np.einsum("pra,ua->upr", attributes[people.unseen], weights)
    best = utility[..., 1 : 1 + compare.NUM_CANDIDATES].max(axis=2) - utility[..., 0]
    told = [
        np.asarray(jax.vmap(metrics.auc)(logit, tests.label, tests.mask)),
        np.nanmean(loss, axis=1),
        np.asarray(expected_label(best, people.choice)).mean(axis=1),
    ]
    scores = compare.Measured(*(np.tile(part, (len(num_answers), 1)) for part in told))
    users = source.draw.split.new_users
    return compare.Cell("attributes", "", seed, "oracle", users, {("random", ""): scores}, {})


def all_cells(sources: Sequence[compare.Source], config: Config) -> list[compare.Cell]:
    """Every method on every seed."""
    seeds, numbers = range(config.num_seeds), config.num_answers
    told = {"dataset": "attributes", "questions": RULES}
    own = [compare.narrowed(source, config.num_own_inputs) for source in sources]
    plain = ("bradley-terry", compare.with_factors("pref-map", config.num_factors))
    pref = [compare.with_factors("pref", config.num_factors)]
    return [
        *compare.run_families(plain, sources, seeds, numbers, **told),
        *compare.run_families(["per-user"], own, seeds, numbers, **told),
        *compare.run_families(pref, sources, seeds, numbers, controls=CONTROLS, **told),
        *(oracle(source, seed, numbers) for seed, source in zip(seeds, sources, strict=True)),
    ]


def tidy_rows(cells: Sequence[compare.Cell], config: Config) -> list[dict]:
    """Rows in the order of the docstring, controls last."""
    rows = [
        row | {"method": NAMES.get(row["method"], row["method"])}
        for row in compare.tidy_rows(cells, config.num_answers)
    ]
    for row in rows:
        if row["method"] in ("population", "oracle"):
            row["questions"] = None

    def place(row: dict) -> tuple:
        return row["control"] or "", ORDER.index(row["method"]), row["questions"] != "random"

    return sorted(rows, key=place)


def ten(config: Config) -> int:
    """Ten answers, or the most below that."""
    return max((number for number in config.num_answers if number <= 10), default=0)


def headline(rows: Sequence[dict], config: Config) -> str:
    """Personal − population after ten answers, in pairs by person, and the win rate there."""
    number = ten(config)
    lines = ["The people and their answers are simulated; the texts are written by the simulation."]
    at = {
        (row["method"], row["questions"], row["control"], row["metric"]): row
        for row in rows
        if row["num_answers"] == number
    }
    for control in (None, "shuffled-users"):
        for rule in RULES:
            found = at["pref", rule, control, "minus_bradley_terry"]
            what = f"{control or 'personal'} − population at {number} answers, {plots.label(rule)}"
            lines.append(f"{what}: {show(found, '+')}")
    for method, rule, said in (
        ("pref", "d_optimal", "their own model"),
        ("population", None, "the population"),
    ):
        found = at[method, rule, None, "win_rate"]
        lines.append(f"win rate over the default, best of 16 by {said}: {show(found)}")
    return "\n".join(lines)


def side_by_side(source: compare.Source, cell: compare.Cell, config: Config) -> str:
    """The first new prompt, as everybody and as its two most different people get it.

    Args:
        source: World of the first seed.
        cell: Scores of `pref` there.
        config: What is run.
    """
    people, served = source.people, cell.scores["d_optimal", ""].served
    assert people is not None
    assert served is not None
    place = config.num_answers.index(ten(config))
    unit = people.weights / np.maximum(np.linalg.norm(people.weights, axis=1)[:, None], 1e-12)
    two = np.unravel_index(np.argmin(unit @ unit.T), (len(unit), len(unit)))
    dataset, default = people.dataset, int(people.unseen[0, 0])
    parts = [
        f"Asked: {dataset.prompts[dataset.prompt_index[default]]}",
        f"By default:\n{dataset.responses[default]}",
    ]
    for user in two:
        text = dataset.responses[int(served[place, user, 0])]
        name = dataset.users[int(cell.users[user])]
        parts.append(f"For {name} (simulated), after {ten(config)} answers:\n{text}")
    return "\n\n".join(parts)


def run(config: Config) -> runs.Result:
    """All curves of all seeds."""
    sources = make_sources(config)
    cells = all_cells(sources, config)
    rows = tidy_rows(cells, config)
    pref = next(cell for cell in cells if cell.method == "pref")
    table = plots.make_table(runs.tidy(rows))
    parts = [table, headline(rows, config), side_by_side(sources[0], pref, config)]
    return runs.Result(rows=rows, summary="\n\n".join(parts))


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

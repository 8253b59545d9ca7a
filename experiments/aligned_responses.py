"""Do people prefer the responses chosen for them? Win rate over the default, by number of answers.

    python -m experiments.aligned_responses smoke     # 1 seed, 8 prompts
    python -m experiments.aligned_responses paper     # 3 seeds, 26 prompts each; 5 minutes of CPU
    python -m experiments.aligned_responses smollm2   # a real model (make lm), 12 minutes of CPU

Expected of ``paper``, win rate after 0, 5, 10, 20 and 40 answers (51 people; at equal length the
same to .004):

    pref         .557 ± .046   .690 ± .035   .723 ± .029   .745 ± .026   .757 ± .027
    per-user     .497 ± .021   .604 ± .038   .659 ± .037   .693 ± .036   .713 ± .031
    wrong-user   .557 ± .046   .500 ± .044   .517 ± .042   .534 ± .043   .535 ± .038
    population   .557 ± .046
    oracle       .860 ± .018

and personal − population at 10 answers +.167 [+.122, +.212], per-user − population +.102 [+.046,
+.158]. What is lost to the oracle is lost about half by the embedding, in which the true weights
reach about .79, and half by ten answers, with which the true attributes reach .79 (seed 0).

With ``smollm2`` (SmolLM2-135M-Instruct, 60 tokens, 12 new prompts, the people of three seeds, who
compare the model's own responses to 48 seen prompts) it is after 0, 5, 10, 20 and 40 answers

    pref         .533 ± .059   .631 ± .045   .679 ± .047   .682 ± .042   .696 ± .036
    per-user     .484 ± .049   .537 ± .043   .578 ± .050   .614 ± .045   .645 ± .051
    wrong-user   .533 ± .059   .486 ± .056   .480 ± .062   .509 ± .059   .511 ± .058
    oracle       .815 ± .033

and personal − population at 10 answers +.146 [+.097, +.195]. With base rewards fitted to written
responses, and the judge's scale for those, it was .576 ± .070 after ten answers where the oracle
reached .757 (17 people of seed 0, ``--own 0``). The two runs differ in what is compared, in the
judge's scale and in the seeds, whose shares were not separated.

Figure 2 (bottom) and Table 1 of the paper as a simulation: simulated people, a small language model
and a simulated judge. New people answer questions about written responses to seen prompts. The
language model then answers new prompts; of sixteen samples everybody gets the best by

    population   the utility that everybody shares
    per-user     ridge logistic regression on text embeddings from the person's answers alone
    pref         base rewards and population prior
    oracle       the true weights on the true attributes, the ceiling of best-of-16

and the judge, who has the person's true weights, compares it in both orders with the default: one
more sample. The control ``wrong-user`` serves another person's responses. Intervals are Student's t
over people; ``win_rate_lc`` is the win rate at equal length.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax import lm, metrics
from prefjax.align import best_of_n_checked
from prefjax.align.judges import Question, compare
from prefjax.lab import plots, runs
from prefjax.lab.simulation import (
    BRIEF,
    Simulation,
    SimulationConfig,
    sample_texts,
    simulate_own,
)
from prefjax.types import Gaussian


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        simulation: People, prompts and fits.
        model: Name (``smollm2``), folder or GGUF file of the language model.
        system: What the system turn says; None leaves it out.
        max_new_tokens: Most tokens of a response.
        own: Samples of each seen prompt that people compare instead of written responses; 0 for
            written ones.
        num_seen: Seen prompts that are answered for that.
        kept: Folder in which samples are kept, so that nothing is drawn twice; None keeps nothing.
        num_seeds: Worlds, each with its own people and samples.
        num_prompts: New prompts that are answered.
        num_samples: Samples of which everybody gets one.
        num_answers: Where the curves are read off.
    """

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    model: str = "offline-lm"
    system: str | None = None
    max_new_tokens: int = 256
    own: int = 0
    num_seen: int = 48
    kept: Path | None = None
    num_seeds: int = 3
    num_prompts: int = 26
    num_samples: int = 16
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)


PRESETS = {
    "smoke": Config(num_seeds=1, num_prompts=8),
    "paper": Config(),
    "smollm2": Config(
        model="smollm2",
        system=BRIEF,
        max_new_tokens=60,
        own=12,
        num_prompts=12,
        kept=Path("runs/aligned_responses/smollm2-kept"),
    ),
}


def choices(sim: Simulation, texts: list[list[str]], config: Config) -> dict[str, np.ndarray]:
    """Index of the chosen sample, [user, prompt], by ``method/control/num_answers``."""
    flat = [text for row in texts for text in row]
    truth = sim.true_reward(flat).reshape(-1, len(texts), config.num_samples)
    indices = {"oracle//0": truth.argmax(2)}
    for name, basis in (("pref", sim.fit_pref()), ("per-user", sim.fit_own())):
        pool, known = sim.pool(basis, texts), sim.interview(basis)
        people = {
            f"{name}//{n}": Gaussian(known.mean[:, n], known.covariance[:, n])
            for n in config.num_answers
        }
        if name == "pref":
            for n in config.num_answers:
                own = people[f"{name}//{n}"]
                people[f"{name}/wrong-user/{n}"] = Gaussian(
                    *(np.roll(array, len(array) // 2, axis=0) for array in own)
                )
            # Without weights the shared utility decides.
            people["population//0"] = Gaussian(
                np.zeros_like(known.mean[:, 0]), known.covariance[:, 0]
            )
        for method, each in people.items():
            indices[method] = np.asarray(best_of_n_checked(each, pool).index)
    return indices


def one_seed(model: lm.LanguageModel, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Win and lengths of both responses, [3, user, prompt], by ``method/control/num_answers``."""
    sim = Simulation(config.simulation, 0 if config.own else seed)
    prompts = sim.prompts[: config.num_prompts]

    def draw(asked: list[str], count: int, number: int) -> list[list[str]]:
        system = None if config.system is None else [config.system] * len(asked)
        return sample_texts(
            model, asked, count, seed=number, system=system,
            max_new_tokens=config.max_new_tokens, kept=config.kept,
        )  # fmt: skip

    drawn = draw(prompts, config.num_samples + 1, 2 if config.own else seed)
    if config.own:  # the same texts for the people of all seeds
        seen = sim.seen_prompts[: config.num_seen]
        answered = seen, draw(seen, config.own, 0)
        sim = simulate_own(config.simulation, seed, answered, (prompts, drawn))
    default, texts = [row[0] for row in drawn], [row[1:] for row in drawn]
    judge, found = sim.judge(), {}
    for name, chosen in choices(sim, texts, config).items():
        questions = [
            Question(person, prompts[p], texts[p][chosen[u, p]], default[p])
            for u, person in enumerate(sim.names)
            for p in range(len(prompts))
        ]
        lengths = [[max(1, len(text.split())) for text in q[2:]] for q in questions]
        result = np.column_stack([compare(judge, questions).win, np.array(lengths)])
        found[name] = result.T.reshape(3, len(sim.names), len(prompts))
    return found


def tidy_rows(found: dict[str, np.ndarray], config: Config) -> list[dict]:
    """One row per method, control, number of answers and metric, over all seeds."""
    rows = []
    for name, (win, length, other) in found.items():
        method, control, number = name.split("/")
        user = np.repeat(np.arange(len(win)), win.shape[1])
        measured = {
            "win_rate": metrics.win_rate(win.ravel(), user),
            "win_rate_lc": metrics.length_controlled_win_rate(
                jax.random.key(0), win.ravel(), user, length.ravel(), other.ravel()
            ),
        }
        # Whoever hears no answers is the same after any number of them.
        numbers = config.num_answers if method in ("population", "oracle") else (int(number),)
        for metric, interval in measured.items():
            rows += [
                {
                    "method": method,
                    "dataset": "attributes",
                    "questions": None,
                    "control": control or None,
                    "num_answers": n,
                    "metric": metric,
                    "value": float(interval.value),
                    "low": float(interval.low),
                    "high": float(interval.high),
                }
                for n in numbers
            ]
    return rows


def headline(found: dict[str, np.ndarray], config: Config) -> str:
    """Personal − population after ten answers, paired by cell."""
    number = max((n for n in config.num_answers if n <= 10), default=0)
    lines = ["The people and the judge are simulated; a small language model wrote the responses."]
    shared = found["population//0"][0]
    user = np.repeat(np.arange(len(shared)), shared.shape[1])
    for name in ("pref/", "per-user/", "pref/wrong-user"):
        gap = metrics.win_difference(found[f"{name}/{number}"][0].ravel(), shared.ravel(), user)
        lines.append(
            f"{name.replace('/', ' ').strip()} − population at {number} answers, win rate: "
            f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        )
    return "\n".join(lines)


def run(config: Config) -> runs.Result:
    """All seeds, their people side by side."""
    model = lm.load(config.model)
    seeds = [one_seed(model, config, seed) for seed in range(config.num_seeds)]
    found = {name: np.concatenate([s[name] for s in seeds], axis=1) for name in seeds[0]}
    rows = tidy_rows(found, config)
    table = plots.make_table(runs.tidy(rows), metric="win_rate")
    lengths = plots.make_table(runs.tidy(rows), metric="win_rate_lc")
    arrays = {name.replace("/", "_"): values for name, values in found.items()}
    summary = f"{table}\n\n{lengths}\n\n{headline(found, config)}"
    return runs.Result(rows=rows, arrays=arrays, summary=summary)


def plot(result: runs.Result) -> Figure:
    """Win rate over the default against the number of answers."""
    return plots.learning_curves(result.table, metric="win_rate")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

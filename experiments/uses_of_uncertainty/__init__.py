"""What is it worth to know how uncertain one is? Safer responses, and sharper questions.

    python -m experiments.uses_of_uncertainty smoke     # 1 seed, 6 + 6 prompts
    python -m experiments.uses_of_uncertainty paper     # 3 seeds, 20 + 12 prompts each; 6 minutes
                                                        # of CPU

Responses. Of sixteen samples of a language model to a new prompt, each new person gets one, by the
posterior N(ŵ, C) of their weights after a few answers:

    mean     the best by ŵ
    lcb      the best by ŵ·δφ − √(δφᵀCδφ)
    pwin     the likeliest to beat the mean response
    robust   the samples are dealt to ŵ and to three draws of the posterior, each names the best of
             its four, and ŵ chooses among the four named: robust preference selection with
             best-of-N as the generator

Reported are the true reward, in deviations of the samples, and the win rate over one more sample.

Questions. A person is asked about one pair of samples for each of ten seen prompts, chosen by

    random    any pair of the four samples of the pool
    pool      the best of their pairs, exactly
    steered   the best pair of these and of four more responses steered by ±κν along the least
              certain direction: each is the best of seven samples, so that κ drops out; never
              accepted below the best pair of the pool
    all       the best pair of all 32 samples, which were drawn for ``steered`` as well

Reported are the mean information of a question, ``log(1 + σ'v)``, which the search maximizes, the
share of pairs with a steered response, and the AUC on the person's own comparisons of responses to
new prompts. People and judge are simulated; intervals are Student's t over people.

Expected of ``paper`` after 3, 5 and 10 answers (51 people): responses by ``mean``, and the others
minus ``mean`` on the same samples,

                 true reward                               win rate
    mean         .609 ± .159  .813 ± .138  .983 ± .124     .632 ± .036  .681 ± .030  .721 ± .029
    lcb         −.007 ± .081 −.082 ± .061 +.015 ± .033    −.022 ± .025 −.018 ± .020 −.000 ± .016
    pwin        +.018 ± .027 +.021 ± .020 +.008 ± .014    +.002 ± .010 +.003 ± .008 +.001 ± .006
    robust      −.053 ± .052 −.083 ± .055 −.049 ± .035    −.026 ± .016 −.020 ± .016 −.013 ± .017

Caution gains nothing: the posterior mean of a linear reward already weighs what is uncertain, and
``robust`` gives samples away to other directions, which best-of-N, that never misses, does not
repay. Questions by ``pool``, and the others minus ``pool`` with the same people and noise,

                 information                               AUC
    pool         .596 ± .024  .545 ± .015  .468 ± .009     .617 ± .037  .635 ± .038  .686 ± .035
    random      −.226 ± .026 −.199 ± .021 −.155 ± .013    −.013 ± .035 −.013 ± .036 −.005 ± .027
    steered     +.205 ± .026 +.201 ± .018 +.155 ± .012    −.004 ± .038 +.017 ± .038 +.049 ± .035
    all         +.405 ± .029 +.359 ± .016 +.272 ± .011    +.010 ± .038 +.042 ± .044 +.059 ± .037

86 % of the steered pairs have a steered response. Steering sharpens the questions of a small pool,
and an exact search of all its samples sharpens them twice as much.

References:
    Robust preference selection, arXiv 2510.20498; question pairs, arXiv 2503.06358, section 4.2.
"""

from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.uses_of_uncertainty.ask import ask
from experiments.uses_of_uncertainty.serve import WAYS, serve
from prefjax import lm, metrics
from prefjax.lab import plots, runs
from prefjax.lab.simulation import Simulation, SimulationConfig, sample_texts


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        simulation: People, prompts and fits.
        model: Name (``smollm2``), folder or GGUF file of the language model.
        num_seeds: Worlds, each with its own people and samples.
        num_answers: Where both are read off; as many questions are asked as the last says.
        num_prompts: New prompts that are answered.
        num_samples: Samples of which everybody gets one.
        num_directions: Directions of ``robust``; divides ``num_samples``.
        num_asked: Seen prompts of which each person is asked about some, in an order of their own.
        num_pool: Samples in the pool of a question.
        num_steered: Responses steered for a question, even.
        num_tried: Samples of which a steered response is the best.
        rule: How the pair of a question is chosen.
    """

    simulation: SimulationConfig = field(default_factory=lambda: SimulationConfig(num_questions=10))
    model: str = "offline-lm"
    num_seeds: int = 3
    num_answers: tuple[int, ...] = (3, 5, 10)
    num_prompts: int = 20
    num_samples: int = 16
    num_directions: int = 4
    num_asked: int = 12
    num_pool: int = 4
    num_steered: int = 4
    num_tried: int = 7
    rule: str = "d_optimal"


SHARES = ("auc_user", "share_steered", "win_rate")

PRESETS = {
    "smoke": Config(num_seeds=1, num_answers=(3, 5), num_prompts=6, num_asked=6),
    "paper": Config(),
}


def one_seed(
    model: lm.LanguageModel, config: Config, seed: int
) -> dict[tuple[str, int, str], np.ndarray]:
    """Everything measured in one world, ``[user, prompt]``, by method, answers and metric."""
    sim = Simulation(config.simulation, seed)
    basis, prompts = sim.fit_pref(), sim.prompts[: config.num_prompts]
    texts = sample_texts(model, prompts, config.num_samples + 1, seed=2 * seed)
    served = serve(
        sim, basis, prompts, texts,
        num_answers=config.num_answers, num_directions=config.num_directions, seed=seed,
    )  # fmt: skip
    num = config.num_pool + config.num_steered * config.num_tried
    seen = sim.seen_prompts[: config.num_asked]
    asked = ask(
        sim, basis, sample_texts(model, seen, num, seed=2 * seed + 1),
        num_answers=config.num_answers, num_pool=config.num_pool,
        num_steered=config.num_steered, rule=config.rule, seed=seed,
    )  # fmt: skip
    return served | asked


def tidy_rows(found: dict[tuple[str, int, str], np.ndarray]) -> list[dict]:
    """One row per method, number of answers and metric, and its difference from the plain way."""
    rows = []
    for (method, number, metric), values in found.items():
        plain = "mean" if method in WAYS else "pool"
        user = np.repeat(np.arange(len(values)), values.shape[1])
        measured = {metric: values}
        if method != plain:
            measured[f"{metric}_minus_{plain}"] = values - found[plain, number, metric]
        for name, each in measured.items():
            reach = (0.0 if name == metric else -1.0, 1.0) if metric in SHARES else None
            about = metrics.clustered_mean(each.ravel(), user, bounds=reach)
            rows.append(
                {
                    "method": method, "dataset": "attributes", "num_answers": number,
                    "metric": name, "value": float(about.value), "low": float(about.low),
                    "high": float(about.high),
                }
            )  # fmt: skip
    return rows


def run(config: Config) -> runs.Result:
    """All seeds, their people side by side."""
    model = lm.load(config.model)
    seeds = [one_seed(model, config, seed) for seed in range(config.num_seeds)]
    found = {name: np.concatenate([seed[name] for seed in seeds]) for name in seeds[0]}
    rows = tidy_rows(found)
    names = sorted({row["metric"] for row in rows if "share_steered_" not in row["metric"]})
    tables = [plots.make_table(runs.tidy(rows), metric=name) for name in names]
    about = "People and judge are simulated; a small language model wrote the responses."
    return runs.Result(rows=rows, summary="\n\n".join([*tables, about]))


def plot(result: runs.Result) -> Figure:
    """What is gained over the plain way, by number of answers."""
    shown = {"win_rate_minus_mean": "win rate − mean", "auc_user_minus_pool": "AUC − pool"}
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(5.4, 2.2), layout="constrained")
        for axes, (metric, label) in zip(figure.subplots(1, 2), shown.items(), strict=True):
            rows = [row for row in result.rows if row["metric"] == metric]
            for k, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
                own = [row for row in rows if row["method"] == method]
                value = np.array([row["value"] for row in own])
                ends = [value - [r["low"] for r in own], [r["high"] for r in own] - value]
                place = np.array([row["num_answers"] for row in own]) + 0.15 * k
                axes.errorbar(place, value, yerr=ends, fmt="o-", ms=3, label=plots.label(method))
            axes.axhline(0, color="#999999", lw=0.8)
            axes.set_xticks(sorted({row["num_answers"] for row in rows}))
            axes.set_xlabel("answers")
            axes.set_ylabel(label)
            axes.legend()
    return figure

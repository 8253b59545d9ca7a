"""The paper's study with people, as a simulation: would 28 people notice that it is about them?

    python -m experiments.simulated_human_study smoke     # 8 people × (5 + 5)
    python -m experiments.simulated_human_study paper     # 28 people × (15 + 15), 200 repetitions;
                                                          # 75 s of CPU

Expected of ``paper``, win rate over the default:

    arm                         first study             mean of 200   interval above chance
    personalized                .731 [.681, .781]       .732          100 %
    other_user                  .495 [.430, .560]       .504            0 %
    personalized − other_user   +.236 [+.170, +.301]    +.228         100 %

and 67 % [57.4, 76.6] in the study of the paper.

Nobody real takes part. Each simulated person answers 15 questions chosen by active learning, and
then compares, for 15 new prompts and once each with the sides dealt at random, the response chosen
for them with the default, one sample of the language model; and in the arm ``other_user`` the
response chosen for somebody else. Both are the best of sixteen samples; intervals are Student's t
over people. The study is repeated with new noise in the final answers of the same people, which
shows how often its interval would leave out one half.

References:
    arXiv 2503.06358, section 5.2.
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax import lm, metrics
from prefjax.align import best_of_n_checked
from prefjax.align.judges import ATTRIBUTES, AttributeJudge, Question
from prefjax.lab import plots, runs
from prefjax.lab.simulation import Simulation, SimulationConfig, sample_texts
from prefjax.types import Gaussian

ARMS = ("personalized", "other_user")


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        simulation: The people; a third of the 84 is new, 28.
        model: Name (``smollm2``), folder or GGUF file of the language model.
        seed: Of people, questions and samples.
        num_people: New people who take part.
        num_questions: Questions to each of them.
        num_trials: Comparisons of each arm by each of them.
        num_samples: Samples of which the best is shown.
        num_studies: Repetitions.
    """

    simulation: SimulationConfig = field(
        default_factory=lambda: SimulationConfig(new_users=1 / 3, num_questions=15)
    )
    model: str = "offline-lm"
    seed: int = 0
    num_people: int = 28
    num_questions: int = 15
    num_trials: int = 15
    num_samples: int = 16
    num_studies: int = 200


PRESETS = {
    "smoke": Config(num_people=8, num_questions=5, num_trials=5, num_samples=8, num_studies=20),
    "paper": Config(),
}


def choose_texts(sim: Simulation, texts: list[list[str]], config: Config) -> dict[str, np.ndarray]:
    """Index of the sample for every person and prompt, by arm."""
    basis = sim.fit_pref()
    pool = sim.pool(basis, texts)
    known = sim.interview(basis)
    own = Gaussian(*(array[: config.num_people, config.num_questions] for array in known))
    other = Gaussian(*(np.roll(array, len(array) // 2, axis=0) for array in own))
    return {
        arm: np.asarray(best_of_n_checked(people, pool).index)
        for arm, people in zip(ARMS, (own, other), strict=True)
    }


def one_study(
    sim: Simulation, trials: dict[str, list[Question]], noise: int, config: Config
) -> np.ndarray:
    """Win of the chosen response in every trial of every arm, [arm, person, trial]."""
    people = dict(zip(sim.names, sim.weights, strict=True))
    judge = AttributeJudge(people, config=sim.config.world.choice, seed=noise)
    rng, wins = np.random.default_rng((config.seed, noise)), []
    for arm in ARMS:
        swapped = rng.random(len(trials[arm])) < 0.5
        requests = [
            ATTRIBUTES.render(q._replace(first=q.second, second=q.first) if swap else q)
            for q, swap in zip(trials[arm], swapped, strict=True)
        ]
        named = np.array([result.choice for result in judge.complete(requests)])
        wins.append((named == swapped).astype(float))
    return np.stack(wins).reshape(len(ARMS), -1, config.num_trials)


def run(config: Config) -> runs.Result:
    """One pool of samples, many studies of the same people."""
    sim = Simulation(config.simulation, config.seed)
    drawn = sample_texts(
        jax.random.key(config.seed), lm.load(config.model), sim.prompts, config.num_samples + 1
    )
    texts = [row[1:] for row in drawn]
    rng, trials = np.random.default_rng(config.seed), {arm: [] for arm in ARMS}
    chosen = choose_texts(sim, texts, config)
    for u in range(config.num_people):
        for p in rng.permutation(len(texts))[: config.num_trials]:
            for arm in ARMS:
                shown = texts[p][chosen[arm][u, p]]
                trials[arm].append(Question(sim.names[u], sim.prompts[p], shown, drawn[p][0]))
    wins = np.stack([one_study(sim, trials, noise, config) for noise in range(config.num_studies)])
    # By study and arm; the third is the difference of the arms, paired by person.
    means = wins.mean(axis=3)
    means = np.concatenate([means, means[:, :1] - means[:, 1:]], axis=1)
    every = metrics.mean_interval(np.moveaxis(means, 2, 0))
    rows, lines = [], []
    for k, arm in enumerate((*ARMS, "personalized − other_user")):
        value, low, high = (float(x[0, k]) for x in every[:3])
        half = 0.0 if "−" in arm else 0.5
        found = float(np.mean(every.low[:, k] > half))
        typical = float(every.value[:, k].mean())
        for metric, number, ends in (
            ("win_rate", value, (low, high)),
            ("mean_win_rate", typical, (None, None)),
            ("power", found, (None, None)),
        ):
            rows.append(
                {
                    "method": arm, "dataset": "attributes", "num_answers": config.num_questions,
                    "seed": config.seed, "metric": metric, "value": number, "low": ends[0],
                    "high": ends[1],
                }
            )  # fmt: skip
        lines.append(
            f"{arm}: first study {value:.3f} [{low:.3f}, {high:.3f}]; mean of "
            f"{config.num_studies} studies {typical:.3f}; interval above {half:g} in {found:.0%}"
        )
    lines.append("No person took part: people, answers and responses are simulated.")
    return runs.Result(rows=rows, arrays={"wins": wins}, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Win rate of every person in the first study, by arm."""
    wins = result.arrays["wins"][0].mean(axis=2)
    figure = Figure(figsize=(3.4, 2.4), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(wins[0])
    for k, arm in enumerate(ARMS):
        axes.plot(wins[k][order], "o", ms=3, label=plots.label(arm))
    axes.axhline(0.5, color="#999999", lw=0.8)
    axes.set_xlabel("simulated people, by win rate")
    axes.set_ylabel("win rate over the default")
    axes.legend()
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

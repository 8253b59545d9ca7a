"""The paper's study with people, as a simulation: would 28 people notice that it is about them?

    python -m experiments.simulated_human_study smoke     # 8 people × (5 + 5 + 5)
    python -m experiments.simulated_human_study paper     # 28 people × (15 + 15 + 15), repeated

Expected of ``paper`` (75 s of CPU), win rate over the default:

    arm                         first study             mean of 200   interval above chance
    personalized                .754 [.692, .815]       .730          100 %
    other_user                  .542 [.479, .604]       .556           27 %
    personalized − other_user   +.212 [+.108, +.316]    +.175         100 %

and 67 % [57.4, 76.6] in the study of the paper.

Nobody real takes part, but the study is the one that real people would take part in: the same
`prefjax.study.StudyEngine` asks and shows, without web pages. Each simulated person answers 15
questions chosen by active learning and then compares, for 15 new prompts, the best of sixteen
samples of a language model for them with the default, one more sample; and for 15 others the best
for somebody else. Sides are balanced, no prompt comes twice, and the person does not know which is
which. Intervals are Student's t over people. The study is repeated with new noise in the final
answers of the same people, which shows how often its interval would leave out one half.

References:
    arXiv 2503.06358, section 5.2.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prefjax import lm, metrics
from prefjax.data.attributes import WorldConfig, measure
from prefjax.io import digest_json
from prefjax.lab import plots, runs
from prefjax.lab.simulation import Simulation, SimulationConfig, sample_texts
from prefjax.model import PreferenceModel
from prefjax.study import Materials, StudyConfig, StudyEngine, replay
from prefjax.study.config import ArmsConfig, AttentionCheck, ExampleTrial, PhasesConfig, StopConfig
from prefjax.study.simulation import PeopleConfig, SimulatedPeople, take_part

ARMS = {"personal": "personalized", "other": "other_user"}
"""What the arms of the study are called in results."""


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
        people: How people choose.
    """

    simulation: SimulationConfig = field(
        default_factory=lambda: SimulationConfig(
            world=WorldConfig(test_fraction=0.3), new_users=1 / 3
        )
    )
    model: str = "offline-lm"
    seed: int = 0
    num_people: int = 28
    num_questions: int = 15
    num_trials: int = 15
    num_samples: int = 16
    num_studies: int = 200
    people: PeopleConfig = field(default_factory=PeopleConfig)


PRESETS = {
    "smoke": Config(num_people=8, num_questions=5, num_trials=5, num_samples=8, num_studies=20),
    "paper": Config(),
}


def make_materials(sim: Simulation, samples: list[list[str]], config: Config) -> Materials:
    """The study: written responses to seen prompts are asked about, samples to new ones tested."""
    basis, people = sim.fit_known()
    dataset = sim.world.dataset
    asked = [[dataset.responses[place] for place in row] for row in sim.world.seen]
    tested = [list(dict.fromkeys(row)) for row in samples]  # a sample that came twice is one
    texts = asked + tested
    flat = tuple(text for row in texts for text in row)
    counts = [len(row) for row in texts]
    ask = PhasesConfig(num_adaptive=config.num_questions, num_repeats=0, time_limit=60.0)
    study = StudyConfig(
        consent="Simulated people agree.",
        practice=(ExampleTrial("Practice?", ("one", "two")),),
        attention=(
            AttentionCheck("Please choose answer A.", ("one", "two"), "A"),
            AttentionCheck("Please choose answer B.", ("one", "two"), "B"),
        ),
        seed=config.seed,
        simulated=True,
        phases=ask,
        arms=ArmsConfig(config.num_trials, config.num_trials, 0),
        stop=StopConfig(complete=config.num_people + 1),
    )
    model = PreferenceModel(basis, people, tuple(range(len(people.mean))), {})
    return Materials(
        config=study,
        model=model,
        prompts=(*sim.seen_prompts, *sim.prompts),
        responses=flat,
        prompt_index=np.repeat(np.arange(len(texts), dtype=np.int32), counts),
        use=("adaptive",) * len(asked) + ("test",) * len(tested),
        default=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        items=model.items(sim.embed(flat)),
        digest=digest_json(list(flat)),
    )


def run(config: Config) -> runs.Result:
    """One study, and many with other errors in its test answers."""
    sim = Simulation(config.simulation, config.seed)
    drawn = sample_texts(
        lm.load(config.model), sim.prompts, config.num_samples + 1, seed=config.seed
    )
    materials = make_materials(sim, drawn, config)
    people = SimulatedPeople(
        sim.weights, sim.weights @ measure(materials.responses).T, config.people
    )
    gaps, first = hold_study(materials, people, config)
    expected = people.expected_win(gaps)
    assert np.isfinite(expected).all()
    wins = np.concatenate(
        [first[None], draw_wins(people, gaps, config.num_studies - 1, config.seed)]
    )
    return summarize(wins, config)


def hold_study(
    materials: Materials, people: SimulatedPeople, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """True gap in utility and win of every test trial, [arm, person, trial]."""
    rng = np.random.default_rng(config.seed)
    shape = len(ARMS), config.num_people, config.num_trials
    gaps, wins = np.empty(shape), np.empty(shape)
    with tempfile.TemporaryDirectory() as folder:
        engine = StudyEngine(materials, Path(folder))
        engine.warm()
        for user in range(config.num_people):
            participant = take_part(engine, people, user, rng)
            for place, arm in enumerate(ARMS):
                rows = engine.store.all(
                    "SELECT * FROM trial NATURAL JOIN answer WHERE participant = ? AND "
                    "kind = 'test' AND arm = ? ORDER BY idx",
                    participant,
                    arm,
                )
                for trial, row in enumerate(rows):
                    utility = people.utility[user]
                    gaps[place, user, trial] = utility[row["second"]] - utility[row["first"]]
                    for_left = {"A": 1.0, "B": 0.0, "N": 0.5}[row["choice"]]
                    wins[place, user, trial] = for_left if row["swapped"] else 1 - for_left
        differences = replay(materials, engine.store).differences
        engine.close()
    if differences:
        raise RuntimeError(f"the replay differs: {differences[0]}")
    return gaps, wins


def draw_wins(people: SimulatedPeople, gaps: np.ndarray, num_studies: int, seed: int) -> np.ndarray:
    """The same trials answered again and again, [study, arm, person, trial]."""
    rng = np.random.default_rng((seed, 1))
    perceived = people.config.sharpness * gaps + rng.logistic(size=(num_studies, *gaps.shape))
    return np.where(np.abs(perceived) <= people.config.tie, 0.5, perceived > 0)


def summarize(wins: np.ndarray, config: Config) -> runs.Result:
    """Rows and text of all studies; the first is the one that was held."""
    # By study and arm; the third is the difference of the arms, paired by person.
    means = wins.mean(axis=3)
    means = np.concatenate([means, means[:, :1] - means[:, 1:]], axis=1)
    every = metrics.mean_interval(np.moveaxis(means, 2, 0))
    rows, lines = [], []
    for k, arm in enumerate((*ARMS.values(), "personalized − other_user")):
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
    for k, arm in enumerate(ARMS.values()):
        axes.plot(wins[k][order], "o", ms=3, label=plots.label(arm))
    axes.axhline(0.5, color="#999999", lw=0.8)
    axes.set_xlabel("simulated people, by win rate")
    axes.set_ylabel("win rate over the default")
    axes.legend()
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

"""Against telling the model: rewards known by answers, beside a system prompt and examples.

    python -m experiments.prompted_baselines smoke     # 3 people, 3 prompts
    python -m experiments.prompted_baselines paper     # 16 people, 12 prompts; 2 minutes of CPU
    python -m experiments.prompted_baselines smollm2   # a real model (make lm); see below
    python -m experiments.prompted_baselines paper --model DIR --judge openai --judge-model NAME \
        --base-url http://127.0.0.1:8000/v1 [--dry-run]

Expected of ``paper``, simulated: win rate of PReF after 5, 10 and 20 answers over

    default          .685 [.601, .768]   .734 [.669, .800]   .753 [.690, .815]
    system-prompt    .656 [.573, .740]   .760 [.698, .823]   .779 [.699, .858]
    in-context-n     .583 [.501, .665]   .740 [.675, .804]   .698 [.620, .776]

Seven examples fit the window, so that 10 and 20 are the same text. The paper has 71.9 % over the
system prompt (PRISM) and 56.1, 62.7 and 68.4 % over examples, with a model that reads them.

Section 5.3 of the paper. Best of sixteen by PReF is compared with one response of the same language
model that was told whom it answers: ``system-prompt`` names the person's traits, ``in-context-n``
lists n of their answers, excerpts of the liked and the disliked response, as many as fit;
``default`` was told nothing, so that one sees whether telling did anything. By default all of it is
offline and simulated: people, the judge (``--judge simulated``), and a language model of four
million parameters that was never taught to follow instructions, so these baselines say only that
the bench works. With a real model and judge they are those of the paper. ``smollm2`` asks 8 people
and 6 prompts of SmolLM2-135M-Instruct, whose own responses people compare (half an hour of a shared
core). Win rate of PReF there after 5 and 10 answers: over default .625 [.467, .783] and .667 [.527,
.806], over system-prompt .625 [.471, .779] and .635 [.496, .774], over in-context-n .604 [.477,
.732] and .615 [.319, .910]: with 8 people only the first of ten answers lies above one half, and a
model of this size does not gain from being told.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from prefjax import lm, metrics
from prefjax.align import best_of_n_checked
from prefjax.align.judges import (
    Cache,
    DryRunJudge,
    JaxJudge,
    Judge,
    OpenAIConfig,
    OpenAIJudge,
    Question,
    compare,
    quality,
)
from prefjax.encoders import chat_prompt
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
        system: What the system turn says to everybody, in front of what a baseline says there.
        own: Samples of each seen prompt that people compare instead of written responses; 0 for
            written ones.
        num_seen: Seen prompts that are answered for that.
        kept: Folder in which samples are kept, so that nothing is drawn twice; None keeps nothing.
        seed: Of everything.
        num_people: New people who are served.
        num_prompts: New prompts that are answered.
        num_samples: Samples of which PReF takes the best.
        num_answers: Answers from which PReF knows a person, and the examples listed.
        max_new_tokens: Most tokens of a response.
        excerpt: Words of a response in an example.
        judge: Who compares: the simulated judge, the language model itself, or a server.
        judge_model: Name of the server's model.
        base_url: Address of the server; None for OpenAI's.
        cache: File in which the server's answers are kept.
        dry_run: Count the calls and make none.
    """

    simulation: SimulationConfig = field(default_factory=lambda: SimulationConfig(num_questions=20))
    model: str = "offline-lm"
    system: str | None = None
    own: int = 0
    num_seen: int = 48
    kept: Path | None = None
    seed: int = 0
    num_people: int = 16
    num_prompts: int = 12
    num_samples: int = 16
    num_answers: tuple[int, ...] = (5, 10, 20)
    max_new_tokens: int = 192
    excerpt: int = 8
    judge: Literal["simulated", "language-model", "openai"] = "simulated"
    judge_model: str = ""
    base_url: str | None = None
    cache: Path = Path("runs/judge.sqlite")
    dry_run: bool = False


PRESETS = {
    "smoke": Config(num_people=3, num_prompts=3, num_samples=8),
    "paper": Config(),
    "smollm2": Config(
        model="smollm2",
        system=BRIEF,
        own=12,
        num_people=8,
        num_prompts=6,
        num_answers=(5, 10),
        max_new_tokens=60,
        kept=Path("runs/prompted_baselines/smollm2-kept"),
    ),
}


def draw(
    model: lm.LanguageModel, prompts: list[str], num_samples: int, seed: int,
    system: list[str] | None, config: Config,
) -> list[list[str]]:  # fmt: skip
    """Responses to prompts, told what everybody is told and what a baseline says."""
    said = [config.system or ""] * len(prompts)
    if system is not None:
        said = [f"{first}\n{own}".strip() for first, own in zip(said, system, strict=True)]
    return sample_texts(
        model, prompts, num_samples, seed=seed, system=said if any(said) else None,
        max_new_tokens=config.max_new_tokens, batch_size=48, kept=config.kept,
    )  # fmt: skip


def make_judge(sim: Simulation, model: lm.LanguageModel, config: Config) -> Judge:
    """The judge that was asked for."""
    if config.dry_run or config.judge == "openai":
        server = OpenAIConfig(config.judge_model or config.model, base_url=config.base_url)
        if config.dry_run:
            return DryRunJudge(server.payload, max_tokens=server.max_tokens)
        return OpenAIJudge(server, cache=Cache(config.cache))
    return JaxJudge(model) if config.judge == "language-model" else sim.judge()


def examples(sim: Simulation, user: int, rng: np.random.Generator, config: Config) -> list[str]:
    """Answers of a person about written responses to seen prompts, one line each."""
    dataset, lines = sim.world.dataset, []
    rows = dataset.comparisons
    tested = sim.world.test_prompt[dataset.prompt_index[rows.first]]
    mine = (rows.user == sim.split.new_users[user]) & ~tested & (rows.label != 0.5)
    for row in rng.permutation(np.flatnonzero(mine))[: max(config.num_answers)]:
        first, second = rows.first[row], rows.second[row]
        pair = (first, second) if rows.label[row] > 0.5 else (second, first)
        liked, other = (" ".join(dataset.responses[i].split()[: config.excerpt]) for i in pair)
        lines.append(f"Liked: {liked} … Disliked: {other} …")
    return lines


def told(model: lm.LanguageModel, prompt: str, lines: list[str], config: Config) -> tuple[str, int]:
    """The system text with as many examples as fit the window, and their number."""
    room = model.config.max_length - config.max_new_tokens
    for count in range(len(lines), 0, -1):
        system = "\n".join(["What this person thought of earlier responses:", *lines[:count]])
        if len(model.tokenizer.encode(chat_prompt(prompt, system))) <= room:
            return system, count
    return "", 0


def baselines(
    sim: Simulation, model: lm.LanguageModel, prompts: list[str], config: Config
) -> tuple[dict[str, list[str]], dict[str, float]]:
    """One response for every person and prompt by baseline, and the examples that did fit."""
    seeds = itertools.count(1000 * config.seed + 3)
    rng = np.random.default_rng(config.seed)
    repeated = prompts * config.num_people

    def answer(system: list[str] | None) -> list[str]:
        return [row[0] for row in draw(model, repeated, 1, next(seeds), system, config)]

    traits = [name.replace("+", " and ") for name in sim.names[: config.num_people]]
    system = [f"Give {trait} responses." for trait in traits for _ in prompts]
    found, fitted = {"default": answer(None), "system-prompt": answer(system)}, {}
    lines = [examples(sim, user, rng, config) for user in range(config.num_people)]
    for number in config.num_answers:
        texts = [told(model, p, own[:number], config) for own in lines for p in prompts]
        name = f"in-context-{number}"
        found[name] = answer([system for system, _ in texts])
        fitted[name] = float(np.mean([count for _, count in texts]))
    return found, fitted


def run(config: Config) -> runs.Result:
    """PReF against every baseline."""
    model, sim = lm.load(config.model), Simulation(config.simulation, config.seed)
    prompts = sim.prompts[: config.num_prompts]
    texts = draw(model, prompts, config.num_samples, 1000 * config.seed + 2, None, config)
    if config.own:
        seen = sim.seen_prompts[: config.num_seen]
        answered = seen, draw(model, seen, config.own, 1000 * config.seed, None, config)
        sim = simulate_own(config.simulation, config.seed, answered, (prompts, texts))
    basis = sim.fit_pref()
    pool = sim.pool(basis, texts)
    known = Gaussian(*(array[: config.num_people] for array in sim.interview(basis)))
    others, fitted = baselines(sim, model, prompts, config)
    judge = make_judge(sim, model, config)
    names = sim.names[: config.num_people]
    if config.judge != "simulated" or config.dry_run:
        names = [name.replace("+", " and ") for name in names]
    user = np.repeat(np.arange(config.num_people), len(prompts))
    rows, lines = [], []
    for number in config.num_answers:
        people = Gaussian(known.mean[:, number], known.covariance[:, number])
        index = np.asarray(best_of_n_checked(people, pool).index)
        for name in ("default", "system-prompt", f"in-context-{number}"):
            questions = [
                Question(
                    names[u], prompts[p], texts[p][index[u, p]], others[name][u * len(prompts) + p]
                )
                for u in range(config.num_people)
                for p in range(len(prompts))
            ]
            verdicts = compare(judge, questions)
            rate, about = metrics.win_rate(verdicts.win, user), quality(verdicts)
            rows.append(
                {
                    "method": f"pref vs {name}", "dataset": "attributes", "seed": config.seed,
                    "num_answers": number, "metric": "win_rate", "value": float(rate.value),
                    "low": float(rate.low), "high": float(rate.high), "judge": config.judge,
                    "inconsistency": about.inconsistency, "invalid_rate": about.invalid_rate,
                }
            )  # fmt: skip
            fit = f", {fitted[name]:.1f} examples did fit" if name in fitted else ""
            lines.append(
                f"PReF after {number} answers over {name}{fit}: "
                f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}], order inconsistency "
                f"{about.inconsistency:.2f}, excluded {about.num_excluded}"
            )
    lines.append(f"People are simulated; judge: {config.judge}; language model: {config.model}")
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Win rate of PReF over every baseline."""
    figure = Figure(figsize=(4.2, 2.4), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(result.rows):
        gap = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        axes.errorbar(row["value"], place, xerr=gap, fmt="o", ms=3, color="#222222")
    axes.set_yticks(
        range(len(result.rows)),
        [f"{plots.label(row['method'])}, {row['num_answers']} answers" for row in result.rows],
    )
    axes.axvline(0.5, color="#999999", lw=0.8)
    axes.set_xlabel("win rate of PReF")
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)

"""How much reward does each way to align buy for how much divergence, and is it really reward?

    python -m experiments.reward_kl_frontier smoke     # 2 people, 2 prompts, heads half trained
    python -m experiments.reward_kl_frontier paper     # 8 people, 12 prompts, 10 minutes of a core

A language model answers new prompts for new people, known by ten answers, in four ways: best-of-N,
decoding with a value head, with an advantage head, and blockwise best-of-4. Of each the table gives
KL to the model's own responses (for best-of-N and blocks its upper bound), the reward that the
fitted model sees and the true reward of the simulated person, both in standard deviations of the
model's own responses, the win rate over the default by the simulated judge, and words. Best-of-N
for all N is exact over subsets of the samples: where the promised reward goes on to rise and the
true one does not, N is over-optimized. One more factor of the heads counts words, and
``shorter`` steers by it alone.

Expected of ``paper``, true reward ± its interval and win rate: best-of-16 1.10 ± .29, .71 at 1.84
nats; beside it the advantage head .34 ± .31, .53, the value head .24 ± .19, .49, and blocks of 40
tokens .78 ± .23, .65 at no more than 2.01 nats. Nothing is over-optimized up to N = 32, where the
promised reward is 2.15 and the true one 1.22 ± .33. On held-out prompts the value head explains .67
of the words and .22 of a factor in the last fifth of a response, and it learns of a choice only
some tokens after it was made: much of the divergence is spent on noise. Steered to few words at
strength 2 the advantage head writes about a tenth less, the value head no less. With so small a
model take best-of-N or blocks.
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.reward_kl_frontier.evaluator import (
    Evaluator,
    describe,
    make_evaluator,
    table,
    tidy,
)
from prefjax import lm, metrics
from prefjax.align import (
    DecodeConfig,
    HeadsResult,
    Prompts,
    TrainConfig,
    decode_advantage,
    decode_blockwise,
    decode_texts,
    decode_value,
    draw,
    encode_prompts,
    find_beta,
    fit_heads,
    kl_bound,
    over_optimization,
    project_tokens,
)
from prefjax.lab import plots, runs
from prefjax.lab.simulation import Simulation, SimulationConfig


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        simulation: People, prompts and fits.
        model: Name (``smollm2``), folder or GGUF file of the language model.
        seed: Seed of world, samples and training.
        num_people: New people who are served.
        num_prompts: New prompts that are answered.
        num_answers: Answers from which a person is known.
        num_samples: Samples of each new prompt, the largest N.
        train_prompts: Seen prompts on which the heads are trained.
        train_samples: Samples of each of them.
        train: Training of the heads.
        max_new_tokens: Most tokens of a response.
        num_candidates: k of decoding.
        layer: Layer whose states the heads read; None for the last state.
        betas: Strengths, per standard deviation of a person's reward.
        block_lengths: Lengths of blocks.
        equal_to: N of the best-of-N at whose KL the heads are compared.
        search_steps: Strengths tried for that at most.
    """

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    model: str = "offline-lm"
    seed: int = 0
    num_people: int = 8
    num_prompts: int = 12
    num_answers: int = 10
    num_samples: int = 32
    train_prompts: int = 79
    train_samples: int = 12
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            num_steps=800, learning_rate=3e-3, weight_decay=20.0, width=128, rank=16
        )
    )
    max_new_tokens: int = 240
    num_candidates: int = 10
    layer: int | None = None
    betas: tuple[float, ...] = (0.5, 1.0, 2.0)
    block_lengths: tuple[int, ...] = (8, 40, 80)
    equal_to: int = 16
    search_steps: int = 8


PRESETS = {
    "smoke": Config(
        num_people=2, num_prompts=2, num_samples=8, train_prompts=6, train_samples=8,
        train=TrainConfig(num_steps=50), max_new_tokens=96, betas=(0.5, 2.0),
        block_lengths=(8, 48), equal_to=8, search_steps=2,
    ),
    "paper": Config(),
}  # fmt: skip


def ways(model: lm.LanguageModel, prompts: Prompts, heads: HeadsResult, config: Config):
    """Functions (strength, weights) → responses, by name, with the strengths to try."""
    token_rows = project_tokens(heads.advantage, model.params["embedding"])
    start = jax.random.key(config.seed + 1), model.params, model.config
    decoding = decode_config(model, config)

    def by_value(beta, weights):
        return decode_value(*start, heads.value, prompts, weights, beta, decoding=decoding)

    def by_advantage(beta, weights):
        return decode_advantage(
            *start, heads.advantage, token_rows, prompts, weights, beta, decoding=decoding
        )

    def by_blocks(length, weights):
        return decode_blockwise(
            *start, heads.value, prompts, weights, block_length=length, decoding=decoding
        )

    return {
        "value-head": (by_value, config.betas),
        "advantage-head": (by_advantage, config.betas),
        "blockwise": (by_blocks, config.block_lengths),
    }


def decode_config(model: lm.LanguageModel, config: Config) -> DecodeConfig:
    """How all responses are decoded."""
    return DecodeConfig(
        config.max_new_tokens,
        num_ids=len(model.tokenizer),
        num_candidates=config.num_candidates,
        layer=config.layer,
    )


def serve_best(evaluator: Evaluator, own: np.ndarray, config: Config) -> list[dict]:
    """Best-of-N for N = 1, 2, 4, …; rewards exact over subsets, the rest from the first N."""
    sizes = tuple(2**i for i in range(20) if 2**i <= config.num_samples)
    shape = len(evaluator.prompts), config.num_samples
    flat = own.ravel().tolist()
    place = np.arange(own.size).reshape(own.shape)
    place = np.tile(place, (shape[0] // len(own), 1))
    promised = np.einsum(
        "rnj,rj->rn", describe(evaluator.sim, evaluator.basis, flat)[place], evaluator.weights
    )
    true = evaluator.sim.true_reward(flat)[evaluator.person[:, None], place]
    curves = [
        (over_optimization(promised, reward, sizes) - evaluator.level[i][:, None])
        / evaluator.spread[i][:, None]
        for i, reward in enumerate((promised, true))
    ]
    rows = []
    for k, size in enumerate(sizes):
        best = place[np.arange(shape[0]), promised[:, :size].argmax(1)]
        measured = evaluator.evaluate([flat[i] for i in best], kl_bound(size))
        names = ("promised_reward", "true_reward")
        for name, curve in zip(names, curves, strict=True):
            measured[name] = metrics.clustered_mean(curve[:, k], evaluator.person)
        rows += tidy("best-of-n", size, measured)
    return rows


def serve_steered(
    name: str, decode, strengths, evaluator: Evaluator, shorter: np.ndarray,
    model: lm.LanguageModel, config: Config,
) -> list[dict]:  # fmt: skip
    """One way at all its strengths; the heads also at equal KL, and steered to few words."""

    def serve(about: str, strength: float, weights: np.ndarray) -> list[dict]:
        steered = decode(strength, weights)
        return tidy(about, strength, evaluator.evaluate(decode_texts(model, steered), steered.kl))

    rows = [row for strength in strengths for row in serve(name, strength, evaluator.weights)]
    if name == "blockwise":
        return rows
    equal = find_beta(
        lambda beta: float(np.mean(decode(beta, evaluator.weights).kl)),
        kl_bound(config.equal_to),
        tolerance=0.1,
        max_steps=config.search_steps,
    )
    rows += serve(f"{name} at the KL of best-of-{config.equal_to}", equal.beta, evaluator.weights)
    return rows + serve(f"{name} shorter", 2.0, shorter)


def run(config: Config) -> runs.Result:
    """Trains the heads, then serves everybody in every way."""
    model, sim = lm.load(config.model), Simulation(config.simulation, config.seed)
    basis, decoding = sim.fit_pref(), decode_config(model, config)
    heads = fit_heads(
        jax.random.key(config.seed), model, sim.seen_prompts[: config.train_prompts],
        partial(describe, sim, basis), num_samples=config.train_samples, decoding=decoding,
        config=config.train,
    )  # fmt: skip
    known = sim.interview(basis).mean[: config.num_people, config.num_answers]
    # The utility counts once and words not at all; a person's reward has deviation 1.
    weights = np.pad(known, [(0, 0), (0, 2)])
    weights[:, -2] = 1
    weights = weights / (heads.features @ weights.T).std(0)[:, None]
    texts = sim.prompts[: config.num_prompts]
    prompts = encode_prompts(model, texts, config.max_new_tokens)
    drawn = draw(
        jax.random.key(config.seed + 2), model.params, model.config, prompts,
        num_samples=config.num_samples + 1, decoding=decoding,
    )  # fmt: skip
    own = np.array(decode_texts(model, drawn), object).reshape(len(texts), -1)
    evaluator = make_evaluator(sim, basis, weights, texts, own[:, 1:], own[:, 0].tolist())
    rows = serve_best(evaluator, own[:, 1:], config)
    shorter = np.zeros_like(evaluator.weights)
    shorter[:, -1] = -1 / heads.features[:, -1].std()
    tiled = Prompts(*(np.tile(array, (len(weights), 1)) for array in prompts))
    for name, (decode, strengths) in ways(model, tiled, heads, config).items():
        rows += serve_steered(name, decode, strengths, evaluator, shorter, model, config)
    explained = np.column_stack([heads.explained[:, :-1].mean(1), heads.explained[:, -1]])
    summary = (
        f"{table(rows)}\n\nR² of the value head on held-out prompts, by fifths of a response, mean "
        f"of φ and of words: {explained.round(2).T.tolist()}\nPeople and judge are simulated; a "
        "small language model wrote the responses. KL of best-of-n and blockwise is an upper bound."
    )
    return runs.Result(rows=rows, arrays={"explained": heads.explained}, summary=summary)


def plot(result: runs.Result) -> Figure:
    """Promised and true reward against KL."""
    rows = [row for row in result.rows if " " not in row["method"]]
    values = {(row["method"], row["strength"], row["metric"]): row["value"] for row in rows}
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(5.6, 2.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, metric in zip(panels, ("promised_reward", "true_reward"), strict=True):
            for method in dict.fromkeys(row["method"] for row in rows):
                strengths = dict.fromkeys(r["strength"] for r in rows if r["method"] == method)
                points = [(values[method, s, "kl"], values[method, s, metric]) for s in strengths]
                axes.plot(*zip(*sorted(points), strict=True), marker="o", ms=3, label=method)
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlabel("KL to the model's own responses, nats")
            axes.set_title(metric.replace("_", " "))
        panels[0].set_ylabel("standard deviations")
        panels[0].legend()
    return figure

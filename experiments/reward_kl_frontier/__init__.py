"""How much reward does each way to align buy for how much divergence, and is it really reward?

    python -m experiments.reward_kl_frontier smoke     # 2 people, 2 prompts, heads half trained
    python -m experiments.reward_kl_frontier paper     # 8 people, 12 prompts, 10 minutes of a core
    python -m experiments.reward_kl_frontier smollm2   # a real model (make lm), 25 minutes of CPU

A language model answers new prompts for new people, known by ten answers, in five ways: best-of-N,
decoding with a value head, with an advantage head, blockwise best-of-4 by the value head, and
blockwise best-of-4 by the score of the text so far, without a head. Of each the table gives KL to
the model's own responses (for best-of-N and blocks its upper bound), the reward that the fitted
model sees and the true reward of the simulated person, both in standard deviations of the model's
own responses to a prompt, the win rate over the default by the simulated judge, and words.
Intervals are over people and prompts. Best-of-N for all N is exact over subsets of the samples:
where the promised reward goes on to rise and the true one does not, N is over-optimized. One more
factor of the heads counts words, and ``shorter`` steers by it alone.

Expected of ``smollm2`` (SmolLM2-135M-Instruct, 60 tokens, people compare its own responses to 48
seen prompts, which with 12 samples each, 30,000 tokens, train the heads; seed 0), true reward ± its
interval at KL: best-of-16 .96 ± .38 at 1.84; blocks of 20 tokens by the value head .50 ± .44 at no
more than 1.59, by the score of the text so far .80 ± .61 at no more than 1.91; the value head .29 ±
.40 at 1.87; the advantage head .38 ± .39 at 1.27, where the search ended. Steered to few words at
strength 2 the value head writes 27 % fewer words (27.4 for 37.4; by prompt −29 ± 18 %), the
advantage head no fewer. Win rates of 64 answers
are within ± .2 and tell nothing apart.

Why the heads fall short there. Not the horizon, and not the rule: the score of the first 10, 20, 30
tokens alone explains .26, .52, .73 of a person's reward for the whole (R² within prompts, between
seen prompts), and blocks chosen by that score gain .83 of best-of-16. It is what the heads know of
the text: the value head explains .03, .10, .14, .18, .23 of a factor by fifths of a response on
held-out prompts, and .64 of the words at the end, where all of it is a function of the text. The
best ridge regression of a person's reward on what the heads read reaches .15, .30, .33 after 20, 40
and 60 tokens, on its sum of token embeddings alone .13, .31, .36, on the last state (layer 18 of
30) alone less. Factors are words and n-grams, of which 576 responses show few. The advantage head
hardly moves the model: its KL at strength 16 is .01. What its weight decay (20), its form and the
few responses have to do with that was not separated.

Expected of ``paper``, in deviations within each prompt and with intervals over people alone:
best-of-16 1.10 ± .29, win rate .71 at 1.84 nats; beside it the advantage head .34 ± .31, .53, the
value head .24 ± .19, .49, and blocks of 40 tokens .78 ± .23, .65 at no more than 2.01 nats. Nothing
is over-optimized up to N = 32, where the promised reward is 2.15 and the true one 1.22 ± .33. On
held-out prompts the value head explains .67 of the words and .22 of a factor in the last fifth of a
response, and it learns of a choice only some tokens after it was made: much of the divergence is
spent on noise. Steered to few words at strength 2 the advantage head writes about a tenth less, the
value head no less. With so small a model take best-of-N or blocks.
"""

from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.reward_kl_frontier.config import PRESETS, Config
from experiments.reward_kl_frontier.evaluator import (
    Evaluator,
    describe,
    make_evaluator,
    table,
    tidy,
)
from experiments.reward_kl_frontier.steering import (
    Steering,
    blocks_by_score,
    compare_own,
    fit_heads_of,
    own_responses,
)
from prefjax import lm
from prefjax.align import (
    Prompts,
    decode_texts,
    encode_prompts,
    find_beta,
    kl_bound,
    over_optimization,
)
from prefjax.lab import plots, runs
from prefjax.lab.simulation import Simulation

__all__ = ["PRESETS", "Config", "plot", "run"]


def serve_best(evaluator: Evaluator, own: np.ndarray, config: Config) -> list[dict]:
    """Best-of-N for N = 1, 2, 4, …; win rates from the first N, the rest exact over subsets."""
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
    words = np.array([len(text.split()) for text in flat])[place]
    curves.append(over_optimization(promised, words, sizes))
    rows = []
    for k, size in enumerate(sizes):
        best = place[np.arange(shape[0]), promised[:, :size].argmax(1)]
        measured = evaluator.evaluate([flat[i] for i in best], kl_bound(size))
        names = ("promised_reward", "true_reward", "words")
        for name, curve in zip(names, curves, strict=True):
            measured[name] = evaluator.mean(name, curve[:, k])
        rows += tidy("best-of-n", size, measured)
    return rows


def serve_steered(
    way: str, steering: Steering, evaluator: Evaluator, shorter: np.ndarray
) -> list[dict]:
    """One way at all its strengths; the heads also at equal KL, and steered to few words."""
    config = steering.config

    def serve(about: str, strength: float, weights: np.ndarray) -> list[dict]:
        steered = steering.responses(way, strength, weights)
        texts = decode_texts(steering.model, steered)
        return tidy(about, strength, evaluator.evaluate(texts, steered.kl))

    if way == "blockwise":
        return [
            row for length in config.block_lengths for row in serve(way, length, evaluator.weights)
        ]
    rows = [row for beta in config.betas for row in serve(way, beta, evaluator.weights)]
    equal = find_beta(
        lambda beta: float(np.mean(steering.responses(way, beta, evaluator.weights).kl)),
        kl_bound(config.equal_to),
        start=4.0,
        tolerance=0.1,
        max_steps=config.search_steps,
    )
    rows += serve(f"{way} at the KL of best-of-{config.equal_to}", equal.beta, evaluator.weights)
    return rows + serve(f"{way} shorter", 2.0, shorter)


def run(config: Config) -> runs.Result:
    """Trains the heads, then serves everybody in every way."""
    model, sim = lm.load(config.model), Simulation(config.simulation, config.seed)
    model = model._replace(params=lm.unstack_layers(model.params))
    texts = sim.prompts[: config.num_prompts]
    prompts = encode_prompts(model, texts, config.max_new_tokens, config.system)
    drawn = own_responses(model, prompts, config.num_samples + 1, config.seed + 2, config)
    own = np.array(decode_texts(model, drawn), object).reshape(len(texts), -1)
    if config.own:
        sim = compare_own(model, sim, own, config)
    basis = sim.fit_pref()
    heads = fit_heads_of(model, sim, basis, config)
    known = sim.interview(basis).mean[: config.num_people, config.num_answers]
    # The utility counts once and words not at all; a person's reward has deviation 1.
    weights = np.pad(known, [(0, 0), (0, 2)])
    weights[:, -2] = 1
    weights = weights / (heads.features @ weights.T).std(0)[:, None]
    evaluator = make_evaluator(sim, basis, weights, texts, own[:, 1:], own[:, 0].tolist())
    rows = serve_best(evaluator, own[:, 1:], config)
    shorter = np.zeros_like(evaluator.weights)
    shorter[:, -1] = -1 / heads.features[:, -1].std()
    tiled = Prompts(*(np.tile(array, (len(weights), 1)) for array in prompts))
    steering = Steering(model, heads, tiled, config)
    for way in ("blockwise", "advantage-head", "value-head"):
        rows += serve_steered(way, steering, evaluator, shorter)
    if config.text_blocks:
        said = blocks_by_score(model, texts, weights, partial(describe, sim, basis), config)
        bound = config.text_blocks * kl_bound(4)
        rows += tidy("blocks by score", config.text_blocks, evaluator.evaluate(said, bound))
    explained = np.column_stack([heads.explained[:, :-1].mean(1), heads.explained[:, -1]])
    summary = (
        f"{table(rows)}\n\nR² of the value head on held-out prompts, by fifths of a response, mean "
        f"of φ and of words: {explained.round(2).T.tolist()}\nPeople and judge are simulated; "
        f"{config.model} wrote the responses. KL of best-of-n and blockwise is an upper bound."
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

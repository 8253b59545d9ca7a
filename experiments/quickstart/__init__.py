"""How many answers does it take to know a new person? Simulated people, real differences in text.

    python -m experiments.quickstart smoke     # 2 seeds
    python -m experiments.quickstart paper     # 10 seeds, 115 s on two cores; `make quickstart`

Expected with ten seeds, AUC of new people on new prompts: at 10 answers ``pref`` .699 with random
and .756 with D-optimal questions, population .520; personal − population +.236 [+.198, +.273].
The best of sixteen by a person's own model wins .730 [.713, .746] over the default.

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

``win_rate`` is how often the simulated judge prefers the best of sixteen answers to a new prompt,
chosen by the person's model, to the one that everybody is served. Last comes one prompt as two
different people are answered.
"""

import jax
from matplotlib.figure import Figure

from experiments.quickstart.draw import Config, draw_all
from experiments.quickstart.methods import RULES, one_seed
from experiments.quickstart.report import headline, side_by_side, tidy_rows
from prefjax.lab import plots, runs

PRESETS = {"smoke": Config(num_seeds=2), "paper": Config()}


def run(config: Config) -> runs.Result:
    """All curves of all seeds; the seeds are one program."""
    stacked = draw_all(config)

    @jax.jit
    def every_seed(rows, shuffled, data):
        return jax.lax.map(lambda s: one_seed(s[0], s[1], s[2], config), (rows, shuffled, data))

    curves, served = jax.device_get(every_seed(*stacked))
    rows = tidy_rows(curves, config)
    table = plots.make_table(runs.tidy(rows))
    parts = [table, headline(curves, config), side_by_side(served[0], config)]
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

"""What was published, and which number of ours answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

OTHER_WORLD = "our Attributes world: other texts, simulated people, no language model as a judge"
PLANTED = "planted world: Gaussian embeddings instead of texts"
SMALL_ENCODER = "hashed n-grams instead of embeddings of a language model"
OTHER_ENCODER = "states of a language model instead of text embeddings and linguistic features"
OTHER_PAIRS = "another draw of test pairs and another protocol"
NO_HUB = "needs data of the Hugging Face hub"
SIMULATED = "simulated people and judge, a small language model"
EARLIER = "another draw of people"


@dataclass(frozen=True)
class Published:
    """One published number and where ours comes from.

    Attributes:
        source: Paper, and table or figure.
        setting: What was measured.
        value: The number; None where it is no number.
        experiment: Module of ours, empty where there is none.
        row: Columns that the row of ours must have.
        why: Why the two are not the same thing; empty if they are.
        shown: How the published value is written, if not as a number.
    """

    source: str
    setting: str
    value: float | None
    experiment: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    shown: str = ""


def auc(experiment: str, method: str, dataset: str, answers: int) -> dict[str, Any]:
    """Where an AUC after some random answers lies."""
    return {
        "experiment": experiment,
        "row": {
            "method": method,
            "dataset": dataset,
            "num_answers": answers,
            "metric": "auc_user",
            "control": None,
            "questions": "random",
            **({"encoder": "hashed"} if experiment == "compare" else {}),
        },
    }


def table_one() -> list[Published]:
    """Table 1, from the comparison of all families; ``experiments.table1`` is that part alone."""
    values = {"pref": (77, 83, 85), "vpl": (78, 80, 80), "pal-a": (56, 59, 61)}
    return [
        Published(
            "2503.06358, Table 1",
            f"{method}, {answers} answers",
            value / 100,
            **auc("compare", method, "attributes", answers),
            why=OTHER_WORLD,
        )
        for method, line in values.items()
        for answers, value in zip((5, 10, 20), line, strict=True)
    ]


def figures() -> list[Published]:
    """Figures of the paper, and what needs people."""
    paper = "2503.06358, "
    return [
        *(
            Published(
                paper + "§ 5.1",
                f"personal − classic RLHF after {answers} answers, {dataset}",
                0.125,
                "fig2_auc",
                {
                    "method": "pref",
                    "dataset": dataset,
                    "num_answers": answers,
                    "metric": "minus_bradley_terry",
                    "control": None,
                },
                why,
                ".10 to .15",
            )
            for dataset, why in (("attributes", OTHER_WORLD), ("prism-shaped", PLANTED))
            for answers in (5, 10)
        ),
        Published(
            paper + "Fig. 3C",
            "random answers worth 15 chosen ones, ratio",
            2.7,
            "fig3c_active",
            {"metric": "answers_ratio", "num_answers": 15},
            OTHER_WORLD,
        ),
        *(
            Published(
                paper + "Fig. 3B",
                f"AUC after 20 answers with J = {factors}; no gain beyond 6",
                None,
                "fig3b_num_factors",
                {
                    "method": "pref",
                    "num_answers": 20,
                    "num_factors": factors,
                    "metric": "auc_user",
                },
                OTHER_WORLD,
                "no further gain",
            )
            for factors in (2, 6, 16)
        ),
        Published(
            paper + "Fig. 9",
            "elbow of the singular values; ours: values above shuffled people",
            None,
            "fig9_scree",
            {"dataset": "attributes", "metric": "above_null"},
            OTHER_WORLD,
            "6",
        ),
        Published(
            paper + "Fig. 11",
            "answers of a per-user model for the AUC of PReF after ten, ratio",
            25.0,
            "fig11_per_user",
            {"metric": "answers_ratio"},
            PLANTED,
        ),
        Published(
            paper + "§ 5.1",
            "win rate, personal − classic RLHF, Attributes; ours: win rate over another sample",
            None,
            "aligned_responses",
            {"method": "pref", "metric": "win_rate", "num_answers": 10, "control": None},
            SIMULATED,
            "+.25",
        ),
        Published(
            paper + "§ 5.1",
            "win rate, personal − classic RLHF, PRISM",
            None,
            why=NO_HUB,
            shown="+.10",
        ),
        Published(
            paper + "§ 5.2",
            "win rate among people, 15 + 15 questions",
            0.67,
            "simulated_human_study",
            {"method": "personalized", "metric": "win_rate"},
            SIMULATED,
        ),
        *(
            Published(
                paper + "§ 5.3",
                f"PRISM, win rate over {other}, {answers} answers",
                value,
                "prompted_baselines",
                {"method": f"pref vs {other}", "num_answers": answers, "metric": "win_rate"},
                SIMULATED,
            )
            for other, answers, value in (
                ("system-prompt", 20, 0.719),
                ("in-context-5", 5, 0.561),
                ("in-context-10", 10, 0.627),
                ("in-context-20", 20, 0.684),
            )
        ),
        Published(
            "2601.20760",
            "TL;DR, two worker groups − one model, accuracy",
            0.008,
            "worker_clusters",
            {"dataset": "tldr", "metric": "minus_bradley_terry", "control": None},
            NO_HUB,
        ),
        *(
            Published("a corrected fork of LoRe", f"PRISM, {model}, accuracy", value, why=NO_HUB)
            for model, value in (
                ("one head", 0.59),
                ("LoRe", 0.59),
                ("ridge around the population", 0.6285),
            )
        ),
    ]


def real_people() -> list[Published]:
    """Factor analysis of all ratings, and the published personal models of UKPConvArg."""
    curves = {
        "jester5k": (0.672, 0.676, 0.682, 0.691, 0.702),
        "polis_bowling_green": (0.808, 0.858, 0.878, 0.881, 0.883),
        "dices350": (0.879, 0.884, 0.889, 0.893, 0.897),
    }
    found = [
        Published(
            "factor analysis of all ratings",
            f"{dataset}, {answers} answers, AUC",
            value,
            **auc("real_people", "pref", dataset, answers),
            why=OTHER_PAIRS,
        )
        for dataset, line in curves.items()
        for answers, value in zip((0, 5, 10, 20, 40), line, strict=True)
    ]
    models = {
        ("GPPL", "bradley-terry"): ((0.71, 0.56), (0.72, 0.55)),
        ("crowdGPPL", "pref"): ((0.72, 0.58), (0.74, 0.55)),
        ("TF-IDF logistic", "bradley-terry"): ((0.687, 0.599), (0.698, 0.578)),
    }
    encoders = {"hashed": SMALL_ENCODER, "smollm2": OTHER_ENCODER}
    for ((name, method), parts), (encoder, why) in product(models.items(), encoders.items()):
        for who, pair in zip(("all", "over 50 pairs"), parts, strict=True):
            dataset = f"ukpconvarg, {who}"
            about = {"dataset": dataset, "method": method, "encoder": encoder}
            for metric, value in zip(("accuracy", "nll"), pair, strict=True):
                found.append(
                    Published(
                        "Simpson and Gurevych 2020",
                        f"UKPConvArg, {name}, workers: {who}, {metric}; ours {method}, {encoder}",
                        value,
                        "ukp_topics",
                        about | {"metric": metric},
                        why,
                    )
                )
    return found


def prototypes() -> list[Published]:
    """The same protocols before there was a package: joint MAP, and users integrated out."""
    curves = {
        ("polis_bowling_green", "pref-map"): (0.736, 0.762, 0.775, 0.785, 0.803),
        ("polis_bowling_green", "pref"): (0.735, 0.772, 0.788, 0.805, 0.820),
        ("jester5k", "pref-map"): (0.684, 0.625, 0.622, 0.634, 0.655),
        ("jester5k", "pref"): (0.684, 0.690, 0.695, 0.701, 0.705),
    }
    return [
        Published(
            "prototype of the same protocol",
            f"{dataset}, {method}, {answers} answers, AUC",
            value,
            **auc("real_people", method, dataset, answers),
            why=EARLIER,
        )
        for (dataset, method), line in curves.items()
        for answers, value in zip((0, 5, 10, 20, 40), line, strict=True)
    ]

"""The model card: what a model was fitted on, what it found, what it must not be used for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefjax.model._model import PreferenceModel

CARD = "README.md"


def model_card(
    model: "PreferenceModel",
    name: str,
    *,
    data: str = "",
    data_license: str = "",
    model_license: str = "",
    base_model: str = "",
) -> str:
    """A model card in Markdown, with the header that the Hugging Face hub reads.

    Args:
        model: Whose report is told.
        name: Title of the card.
        data: Where the comparisons come from, in words.
        data_license: License of the data.
        model_license: License of the model, in the words of the hub, such as ``apache-2.0``.
        base_model: Hub id or name of the language model whose states are read, if one is.
    """
    header = ["---", "library_name: prefjax", "tags: [preference-model, reward-model]"]
    header += [f"license: {model_license}"] if model_license else []
    header += [f"base_model: {base_model}"] if base_model else []
    lines = [*header, "---", "", f"# {name}", ""]
    lines += [
        "A personal preference model, "
        "`P(user prefers a over b) = σ(w·(φ(a) − φ(b)) + t(a) − t(b))`, with base rewards φ and a "
        "utility t learned from many people's choices, and a few weights w of each person (PReF, "
        "arXiv 2503.06358).",
        "",
        "## Data",
        "",
        data or "Not described by whoever wrote this card.",
        f"License of the data: {data_license or 'not stated'}.",
        "",
        "## What was found",
        "",
        *_findings(model),
        "",
        "## Limits",
        "",
        "Scores of responses to different prompts cannot be compared: what all responses to a "
        "prompt share is not in the data. What a person has not been asked about is predicted from "
        "what people like them chose. The intervals of a ranking say how much is not known.",
        "",
    ]
    return "\n".join(lines)


def _findings(model: "PreferenceModel") -> list[str]:
    report = model.report
    lines = [f"- base rewards: {model.num_factors}"]
    if model.encoder is not None:
        lines.append(f"- encoder: {model.encoder.fingerprint}")
    if "num_rows" in report:
        lines.append(f"- comparisons: {report['num_rows']} of {report['num_users']} people")
    if "gain" in report:
        lines += [
            "- log loss on people held out from the fit: population "
            f"{report['population_nll']:.4f}, personal {report['held_out_nll']:.4f}",
            f"- personal gain over the population: {report['gain']:.4f} nats "
            f"[{report['gain_low']:.4f}, {report['gain_high']:.4f}] (95 % interval)",
        ]
        if report["gain_low"] <= 0:
            lines.append("- **nothing personal could be told from these data**")
    return lines

"""Writes a reward as a Hugging Face folder that transformers, TRL, vLLM and others load.

Examples:
  prefjax export model/ reward/ --person ann.json
  prefjax export model/ reward/ --user w12
  prefjax export model/ basis/

With a person the folder has one label, that person's reward; without, J + 1 labels, the base
rewards and the shared utility. The model must be a linear head over the last token of a language
model (encoder "lm:FOLDER#paper").
"""

import argparse

from prefjax.cli._reading import add_person, get_person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument("output", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.add_argument("--data", default="", help="where the comparisons come from, for the card")
    parser.add_argument("--data-license", default="", help="license of the data, for the card")
    parser.add_argument("--license", default="", help="license of the model, for the card")
    add_person(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads the model and writes the folder."""
    from prefjax.encoders import LanguageEncoder
    from prefjax.model import load
    from prefjax.model.card import model_card
    from prefjax.serve import export_folder

    model = load(arguments.model)
    encoder = None if model.encoder is None else model.encoder.encoder
    if not isinstance(encoder, LanguageEncoder):
        kind = "no encoder" if encoder is None else f"the encoder {type(encoder).__name__}"
        raise ValueError(
            f"{arguments.model} has {kind}: only a head over a language model can be a folder of "
            "transformers. Fit with prefjax.fit(data, encoder='lm:FOLDER#paper')"
        )
    has_person = arguments.person is not None or arguments.user is not None
    weights = get_person(model, arguments).weights if has_person else None
    card = model_card(
        model,
        arguments.output,
        data=arguments.data,
        data_license=arguments.data_license,
        model_license=arguments.license,
        base_model=str(encoder.model.directory),
    )
    export_folder(
        arguments.output,
        model.basis,
        encoder,
        weights=weights,
        card=card,
        overwrite=arguments.overwrite,
    )
    labels = "1 label" if has_person else f"{model.num_factors + 1} labels"
    print(f"{arguments.output} has {labels}.")

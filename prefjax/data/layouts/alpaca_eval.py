"""Annotations of alpaca_eval: two outputs and a preference from 1 (the first) to 2 (the second).

    label = 2 − preference;   0 and 1.5 are draws, no value is no judgment

References:
    tatsu-lab/alpaca_eval, annotators/pairwise_evaluator.py and metrics/winrate.py.
"""

from typing import Any

from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import RawColumns, as_number, as_text
from prefjax.data.sources import Source


def _read(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        preference = as_number(entry.get("preference"), "preference", place, is_csv=source.is_csv)
        if preference is None or preference != preference:
            builder.count("num_without_judgment")
            continue
        if preference != 0 and not 1 <= preference <= 2:
            raise ValueError(
                f"{place}: column preference must lie between 1 and 2, or be 0 for a draw, got "
                f"{preference:g}."
            )
        asked = as_text(entry.get("instruction"), "instruction", place)
        given = as_text(entry.get("input"), "input", place)
        builder.add(
            row,
            user=as_text(entry.get("user"), "user", place, is_name=True),
            prompt=read_prompt(f"{asked}\n\n{given}" if given else asked, "instruction", place),
            first=read_response(entry.get("output_1"), "output_1", place),
            second=read_response(entry.get("output_2"), "output_2", place),
            label=2.0 - preference if preference else 0.5,
        )
    return builder.build()


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    return [
        {
            "instruction": judgment.prompt,
            "output_1": judgment.first,
            "output_2": judgment.second,
            "annotator": judgment.user,
            "preference": 2.0 - judgment.label,
        }
        for judgment in judgments
    ]


def _refuse(source: Source, request: Request) -> RawColumns:
    raise ValueError(
        "these are outputs of a model and hold no preference; read the annotations of alpaca_eval, "
        "with columns instruction, output_1, output_2, preference and annotator."
    )


ANNOTATIONS = Layout(
    name="alpaca_eval",
    about="annotations of alpaca_eval",
    columns=("instruction", "output_1", "output_2", "preference"),
    read=_read,
    write=_write,
    has_ties=True,
    has_soft_labels=True,
)
OUTPUTS = Layout(
    name="alpaca_eval-outputs",
    about="outputs of a model for alpaca_eval, without preferences",
    columns=("instruction", "output", "generator"),
    read=_refuse,
    names_people=False,
)

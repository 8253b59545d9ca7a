"""AnnotatedPairs, version 2: pairs of responses with what every annotator says of them.

One JSON object with ``metadata``, ``annotators`` and ``comparisons``. Annotators are people, and
models or principles that are read like people; what a principle does not decide is no judgment. The
viewer of that project shows such files.

References:
    rdnfn/icai (Inverse Constitutional AI), arXiv 2406.06560.
"""

from collections.abc import Mapping
from typing import Any

from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import RawColumns
from prefjax.data.sources import Source

_LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}


def _fits(source: Source) -> bool:
    return source.num_rows == 1 and isinstance(source.rows[0].get("comparisons"), list)


def _read(source: Source, request: Request) -> RawColumns:
    document = source.rows[0]
    names = _names(document.get("annotators"))
    builder = Builder(source, request)
    for place, pair in enumerate(document["comparisons"]):
        where = f"comparison {pair.get('id', place)}"
        texts = [_text(pair.get(side), side, where) for side in ("response_a", "response_b")]
        for annotator, annotation in (pair.get("annotations") or {}).items():
            if annotator not in names:
                raise ValueError(f"{where}: {annotator!r} is none of the annotators.")
            said = annotation.get("pref") if isinstance(annotation, Mapping) else None
            label = _LABELS.get(str(said).casefold())
            if label is None:
                builder.count("num_without_judgment")
                continue
            builder.add(
                0,
                user=names[annotator],
                prompt=read_prompt(pair.get("prompt"), "prompt", where),
                first=texts[0],
                second=texts[1],
                label=label,
            )
    return builder.build(note=f"{len(names)} annotators")


def _names(annotators: Any) -> dict[str, str]:
    """Name of each annotator; the id where two share a name."""
    if not isinstance(annotators, Mapping):
        raise ValueError("annotators must be an object that holds each annotator by id.")
    names = {key: str((entry or {}).get("name") or key) for key, entry in annotators.items()}
    shared = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {key: key if name in shared else name for key, name in names.items()}


def _text(response: Any, side: str, where: str) -> str | None:
    return read_response(
        response.get("text") if isinstance(response, Mapping) else response, side, where
    )


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    names = {1.0: "a", 0.0: "b", 0.5: "tie"}
    pairs: dict[tuple[str, str, str], dict[str, Any]] = {}
    for judgment in judgments:
        one, other, label = judgment.first, judgment.second or "", judgment.label
        if (judgment.prompt, other, one) in pairs:  # the same pair, shown the other way round
            one, other, label = other, one, 1.0 - label
        pair = pairs.setdefault(
            (judgment.prompt, one, other),
            {
                "id": str(len(pairs)),
                "prompt": judgment.prompt,
                "response_a": {"text": one},
                "response_b": {"text": other},
                "annotations": {},
                "metadata": {},
            },
        )
        if judgment.user in pair["annotations"]:
            raise ValueError(
                f"{judgment.user!r} judges the pair {one[:40]!r}, {other[:40]!r} twice, which this "
                "layout cannot say."
            )
        pair["annotations"][judgment.user] = {"pref": names[label]}
    people = {
        name: {"name": name, "description": "", "type": "human"}
        for name in dict.fromkeys(judgment.user for judgment in judgments)
    }
    return [
        {
            "metadata": {"version": "2.0"},
            "annotators": people,
            "comparisons": list(pairs.values()),
        }
    ]


LAYOUT = Layout(
    name="annotated_pairs",
    about="AnnotatedPairs, version 2, of Inverse Constitutional AI",
    columns=("annotators", "comparisons"),
    read=_read,
    write=_write,
    fits=_fits,
    names_people=False,
    has_ties=True,
    needs_json=True,
    is_document=True,
)

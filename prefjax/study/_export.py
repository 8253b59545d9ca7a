"""What a study has found, as files: a data set of the project and the tables behind it.

    choices/              every choice between two responses, for `prefjax.data.io.read_folder`
    trials.parquet        every trial: phase, arm, sides, choice, times, belief before it
    participants.parquet  every person: end, consent, survey, reasons, belief after all answers
    items.parquet         φ and t of every response
    study.json            settings, digest of the materials

People are ``p0001``, …; no recruiting id is in it. Who withdrew is counted and nothing else.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefjax.data.dataset import Dataset
from prefjax.data.io import read_folder, write_folder
from prefjax.io import write_json
from prefjax.io.atomic import atomic_folder
from prefjax.study.choosing import LABELS, Asked, know, label_of
from prefjax.study.config import StudyConfig
from prefjax.study.design import make_design
from prefjax.study.materials import Materials
from prefjax.study.store import Store
from prefjax.study.trials import prior_of, to_bytes
from prefjax.types import Comparisons, Items

CHOICES, TRIALS, PARTICIPANTS, ITEMS, STUDY = (
    *("choices", "trials.parquet", "participants.parquet", "items.parquet", "study.json"),
)
COMPARED = ("adaptive", "test", "repeat")
"""Kinds of trials that compare two responses."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class StudyExport:
    """An export that was read back.

    Attributes:
        dataset: Every choice between two responses.
        trials: Every trial.
        participants: Every person.
        items: φ and t of every response.
        study: Settings, digest, posterior scale.
    """

    dataset: Dataset
    trials: list[dict[str, Any]]
    participants: list[dict[str, Any]]
    items: Items
    study: dict[str, Any]


def export(materials: Materials, store: Store, out: str | Path, *, overwrite: bool = False) -> None:
    """Writes an export, all of it or nothing.

    Args:
        materials: The study.
        store: Its database.
        out: The folder to make.
        overwrite: Whether an earlier export may be replaced.

    Raises:
        ValueError: Nobody has compared two responses yet.
        FileExistsError: The folder is there.
    """
    people = store.all("SELECT * FROM participant ORDER BY number")
    trials = _trials(materials, store, {row["number"]: row for row in people})
    compared = [row for row in trials if row["kind"] in COMPARED and row["choice"] is not None]
    if not compared:
        raise ValueError("nobody has compared two responses yet; there is nothing to export")
    users = sorted({row["participant"] for row in compared})
    place = {name: index for index, name in enumerate(users)}
    dataset = Dataset(
        name="study",
        comparisons=Comparisons(
            user=np.array([place[row["participant"]] for row in compared], np.int32),
            first=np.array([row["left"] for row in compared], np.int32),
            second=np.array([row["right"] for row in compared], np.int32),
            label=np.array([row["label"] for row in compared], np.float32),
            sample_weight=np.ones(len(compared), np.float32),
        ),
        responses=materials.responses,
        prompt_index=materials.prompt_index,
        prompts=materials.prompts,
        users=tuple(users),
        meta={
            "simulated": materials.config.simulated,
            "source": f"study {materials.digest[:16]}, made with prefjax.study",
            "license": "not stated",
            "label": "1: the person preferred the response on the left, ½: no preference",
        },
    )
    settings = {
        "format": _FORMAT,
        "digest": materials.digest,
        "consent_version": materials.config.consent_version,
        "posterior_scale": float(materials.model.basis.posterior_scale),
        "config": json.loads(json.dumps(dataclasses.asdict(materials.config))),
    }
    items = {
        "features": list(np.asarray(materials.items.features, np.float32)),
        "utility": np.asarray(materials.items.utility, np.float32),
    }
    if materials.items.spread is not None:
        items["spread"] = list(np.asarray(materials.items.spread, np.float32))
    with atomic_folder(Path(out), overwrite=overwrite, is_ours=_is_export) as target:
        write_folder(dataset, target / CHOICES)
        pq.write_table(pa.Table.from_pylist(trials, _TRIAL_SCHEMA), target / TRIALS)
        rows = [_participant(materials, store, row) for row in people]
        pq.write_table(pa.Table.from_pylist(rows, _PERSON_SCHEMA), target / PARTICIPANTS)
        pq.write_table(pa.table(items), target / ITEMS)
        write_json(target / STUDY, settings)


def read_export(folder: str | Path) -> StudyExport:
    """Reads what `export` wrote.

    Args:
        folder: The folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It was written by another version.
    """
    folder = Path(folder)
    study = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    if study.get("format") != _FORMAT:
        raise ValueError(f"{folder} is of format {study.get('format')}; this reads {_FORMAT}.")
    items = pq.read_table(folder / ITEMS)
    known = items.column_names
    return StudyExport(
        dataset=read_folder(folder / CHOICES),
        trials=pq.read_table(folder / TRIALS).to_pylist(),
        participants=pq.read_table(folder / PARTICIPANTS).to_pylist(),
        items=Items(
            np.array(items["features"].to_pylist(), np.float32),
            items["utility"].to_numpy(),
            np.array(items["spread"].to_pylist(), np.float32) if "spread" in known else None,
        ),
        study=study,
    )


_NUMBERS = pa.list_(pa.float32())
_TRIAL_SCHEMA = pa.schema(
    {
        "participant": pa.string(),
        "index": pa.int32(),
        "phase": pa.string(),
        "kind": pa.string(),
        "arm": pa.string(),
        "prompt": pa.int32(),
        "left": pa.int32(),
        "right": pa.int32(),
        "swapped": pa.bool_(),
        "origin": pa.string(),
        "source": pa.int32(),
        "expected": pa.string(),
        "choice": pa.string(),
        "label": pa.float32(),
        "win": pa.float32(),
        "served_at": pa.float64(),
        "answered_at": pa.float64(),
        "seconds": pa.float64(),
        "client_ms": pa.int64(),
        "mean": _NUMBERS,
        "covariance": _NUMBERS,
    }
)
_PERSON_SCHEMA = pa.schema(
    {
        "participant": pa.string(),
        "end": pa.string(),
        "num_answers": pa.int32(),
        "failed_checks": pa.int32(),
        "created_at": pa.float64(),
        "consent_at": pa.float64(),
        "consent_version": pa.string(),
        "end_at": pa.float64(),
        "survey": pa.string(),
        "reasons": pa.string(),
        "other": pa.string(),
        "prior_mean": _NUMBERS,
        "final_mean": _NUMBERS,
        "final_covariance": _NUMBERS,
    }
)


def _trials(materials: Materials, store: Store, people: dict[int, Any]) -> list[dict[str, Any]]:
    """Every trial that was served, in order of people and time."""
    rows = store.all(
        "SELECT * FROM trial NATURAL LEFT JOIN answer WHERE served_at IS NOT NULL "
        "ORDER BY participant, idx"
    )
    asked: dict[int, list[Asked]] = {}
    trials = []
    for row in rows:
        before = asked.setdefault(row["participant"], [])
        swapped = bool(row["swapped"])
        pair = row["first"], row["second"]
        left, right = reversed(pair) if swapped and pair[0] >= 0 else pair
        choice = row["choice"]
        win = None
        if row["kind"] in ("test", "repeat") and choice is not None:
            win = 1.0 - label_of(choice, swapped)
        mean, covariance = row["mean"], row["covariance"]
        if row["kind"] == "adaptive" and mean is None:  # drawn in time, without a belief
            prior = prior_of(materials, people[row["participant"]])
            seed = make_design(materials, row["participant"]).seed
            mean, covariance = to_bytes(know(materials, prior, before, seed).belief)
        if row["kind"] == "adaptive" and choice is not None:
            before.append(Asked(row["prompt"], *pair, label_of(choice, swapped)))
        expected = ""
        if row["kind"] == "attention":
            expected = materials.config.attention[row["source"]].expected
        trials.append(
            {
                "participant": name_of(row["participant"]),
                "index": row["idx"],
                **{name: row[name] for name in ("phase", "kind", "arm", "prompt", "origin")},
                "left": left,
                "right": right,
                "swapped": swapped,
                "source": row["source"],
                "expected": expected,
                "choice": choice,
                "label": None if choice is None else LABELS[choice],
                "win": win,
                "served_at": row["served_at"],
                "answered_at": row["answered_at"],
                "seconds": None if choice is None else row["answered_at"] - row["served_at"],
                "client_ms": row["client_ms"],
                "mean": _floats(mean),
                "covariance": _floats(covariance),
            }
        )
    return trials


def _participant(materials: Materials, store: Store, row: Any) -> dict[str, Any]:
    number = row["number"]
    survey = store.all("SELECT question, answer FROM survey WHERE participant = ?", number)
    checks = store.all(
        "SELECT source, choice FROM trial NATURAL JOIN answer "
        "WHERE participant = ? AND kind = 'attention'",
        number,
    )
    answers = store.one("SELECT COUNT(*) AS n FROM answer WHERE participant = ?", number)
    expected = materials.config.attention
    other = make_design(materials, number).other
    return {
        "participant": name_of(number),
        "end": row["end"] or "",
        "num_answers": 0 if answers is None else answers["n"],
        "failed_checks": sum(
            check["choice"] != expected[check["source"]].expected for check in checks
        ),
        "survey": json.dumps(
            {one["question"]: one["answer"] for one in survey}, ensure_ascii=False
        ),
        "reasons": row["reasons"],
        "other": str(materials.model.users[other]) if other >= 0 and materials.model.users else "",
        **{name: row[name] for name in ("created_at", "consent_at", "consent_version", "end_at")},
        **{name: _floats(row[name]) for name in ("prior_mean", "final_mean", "final_covariance")},
    }


def name_of(participant: int) -> str:
    """Name of a person in the export.

    >>> name_of(7)
    'p0007'
    """
    return f"p{participant:04d}"


def config_of(study: dict[str, Any]) -> StudyConfig:
    """Settings of an export."""
    from pydantic import TypeAdapter

    return TypeAdapter(StudyConfig).validate_json(json.dumps(study["config"]))


def _floats(data: bytes | None) -> list[float] | None:
    return None if data is None else np.frombuffer(data, np.float32).tolist()


def _is_export(folder: Path) -> bool:
    return (folder / STUDY).is_file() and (folder / TRIALS).is_file()

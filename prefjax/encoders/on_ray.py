"""A corpus embedded by the actors of a Ray cluster, each with an encoder of its own.

Ray Data deals the shards out, starts an actor anew that was lost and gives its shard to another.
The shards are those of `prefjax.encoders.encode_corpus`: each appears whole or not at all, so that
every text is embedded exactly once whatever dies, with the bits that one process gives it.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prefjax.encoders.contract import Encoder
from prefjax.encoders.corpus import claim_corpus, encode_shard, warn_of_cuts
from prefjax.encoders.named import get_encoder
from prefjax.encoders.parquet import ParquetTexts
from prefjax.parallel import start_ray


def encode_on_ray(
    specification: str,
    texts: ParquetTexts,
    folder: Path,
    *,
    num_actors: int,
    encoder: Encoder | None = None,
    gpus_per_actor: float = 0,
    rows_a_shard: int = 65_536,
    batch_size: int = 256,
    progress: bool = False,
) -> None:
    """Makes the shards that are not on disk yet, several at a time.

    Args:
        specification: The encoder, as `prefjax.encoders.get_encoder` takes it.
        texts: All texts of the corpus, in files that all nodes see.
        folder: Where the shards go, on a disk that all nodes share.
        num_actors: How many shards are made at once.
        encoder: What the specification names, where it is at hand; otherwise it is made here too.
        gpus_per_actor: GPUs of each; 0 computes on the CPU.
        rows_a_shard: Texts of a shard.
        batch_size: Texts per call of the encoder.
        progress: Show a bar in texts per second.

    Warns:
        RuntimeWarning: How many texts were cut to fit the window of the encoder.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        ValueError: As `prefjax.encoders.encode_corpus` does.
    """
    start_ray()
    with warnings.catch_warnings(action="ignore"):  # what Ray warns of in itself
        from ray import data

        data.DataContext.get_current().enable_progress_bars = False
    folder = Path(folder).absolute()
    encoder = get_encoder(specification) if encoder is None else encoder
    num_shards = claim_corpus(encoder, texts, folder, rows_a_shard, batch_size)
    platform = "cuda" if gpus_per_actor else "cpu"
    numbers = [{"id": shard} for shard in range(num_shards)]
    # Not a range: its tasks would wait for a core where the actors have them all.
    shards = data.from_items(numbers, override_num_blocks=num_shards)
    made = shards.map_batches(
        _Embedder,
        fn_constructor_args=(specification, texts, folder, rows_a_shard, batch_size),
        batch_size=1,
        compute=data.ActorPoolStrategy(size=num_actors),
        num_cpus=1,
        num_gpus=gpus_per_actor,
        runtime_env={"env_vars": {"JAX_PLATFORMS": platform}},
    )
    num_cut = 0
    with tqdm(total=len(texts), unit="text", disable=not progress) as bar:
        for row in made.iter_rows():
            num_cut += int(row["num_cut"])
            bar.update(min(rows_a_shard, len(texts) - int(row["shard"]) * rows_a_shard))
    warn_of_cuts(num_cut)


class _Embedder:
    """An actor: the encoder is read once, then shard after shard is made."""

    def __init__(self, specification: str, *corpus: Any):
        from prefjax.parallel import use_compilation_cache

        use_compilation_cache()
        self._encoder, self._corpus = get_encoder(specification), corpus

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        texts, folder, rows_a_shard, batch_size = self._corpus
        (shard,) = batch["id"]
        num_cut = encode_shard(self._encoder, texts, folder, int(shard), rows_a_shard, batch_size)
        return {"shard": batch["id"], "num_cut": np.array([num_cut])}

"""A model on disk: one file, ``model.safetensors``, whose header says what is in it.

One file is replaced by one rename, so that readers see the old model or the new one and a death
while writing leaves the old one. The header carries a digest of the arrays; what does not agree
with it, is not finite or is no Gaussian is refused by name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from prefjax.encoders import Encoder
from prefjax.io.atomic import write_atomically
from prefjax.io.digest import digest_arrays, digest_json
from prefjax.io.hub import HUB_ID, download
from prefjax.model.encoder import EncoderRecord, ModelEncoder
from prefjax.person.checks import check_population
from prefjax.types import Gaussian, Mixture, RewardBasis

if TYPE_CHECKING:
    from prefjax.model._model import PreferenceModel

FILE = "model.safetensors"
FORMAT = 3
_READ = (1, 2, FORMAT)
_ENCODER = "encoder/"
_MIXTURE = ("mixture.log_weight", "mixture.mean", "mixture.covariance")
_NAMED = ("population.mean", "population.covariance", "people.mean", "people.covariance")


def save(
    folder: str | Path,
    basis: RewardBasis,
    people: Gaussian,
    users: tuple[Any, ...],
    report: Mapping[str, Any],
    encoder: ModelEncoder | None = None,
) -> None:
    """Writes a model; see `PreferenceModel.save`.

    Args:
        folder: Made if needed; a model in it is replaced.
        basis: Its head may have hidden layers.
        people: Posterior of every training user.
        users: Name or number of every training user.
        report: Plain values.
        encoder: How texts are read, None where only embeddings are.

    Raises:
        ValueError: Something is not finite.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(basis.params)
    arrays = {
        "params/" + "/".join(str(part.key) for part in path): leaf  # pyright: ignore
        for path, leaf in leaves
    }
    arrays |= {
        "population.mean": basis.population.mean,
        "population.covariance": basis.population.covariance,
        "posterior_scale": basis.posterior_scale,
        "people.mean": people.mean,
        "people.covariance": people.covariance,
    }
    if isinstance(basis.population, Mixture):
        components = basis.population.components
        parts = basis.population.log_weight, components.mean, components.covariance
        arrays |= dict(zip(_MIXTURE, parts, strict=True))
    if encoder is not None:
        arrays |= {_ENCODER + name: array for name, array in encoder.arrays.items()}
    arrays = {name: np.array(array, np.float32, order="C") for name, array in arrays.items()}
    wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if wrong:
        raise ValueError(f"a model that is not finite is not saved: {', '.join(wrong)}")
    users = tuple(name.item() if isinstance(name, np.generic) else name for name in users)
    about = {
        "format": FORMAT,
        "users": users,
        "report": dict(report),
        "encoder": None if encoder is None else encoder.record.to_json(),
    }
    about["digest"] = _digest(arrays, about)
    header = {"prefjax": json.dumps(about)}
    target = Path(folder) / FILE
    write_atomically(target, lambda path: save_file(arrays, path, metadata=header))


def load(folder: str | Path, *, encoder: Encoder | None = None) -> "PreferenceModel":
    """Reads a model that `PreferenceModel.save` or ``python -m prefjax.train`` wrote.

    Args:
        folder: Holds ``model.safetensors``; or ``owner/name@commit`` of the Hugging Face hub, where
            `PreferenceModel.push_to_hub` put it.
        encoder: The encoder with which the model was fitted, where it was passed to `prefjax.fit`
            as an object that has no name. The others are made again when the first text comes.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: The file is damaged, was changed after it was written, is in another format, or
            holds something that is not finite or no Gaussian; or the encoder is another one. The
            message names it.
    """
    from prefjax.model._model import PreferenceModel

    repository, mark, commit = str(folder).partition("@")
    if mark and HUB_ID.fullmatch(repository) and not Path(folder).is_dir():
        remedy = "Download it where there is a network and pass the folder."
        folder = download(repository, commit, [FILE], remedy=remedy)
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no model: there is no {FILE}. Models are written by "
            "PreferenceModel.save and by python -m prefjax.train."
        )
    arrays, header = _read(path)
    if "prefjax" not in header:
        basis, people = _first_format(path, arrays)
        return PreferenceModel(basis, people, tuple(range(len(people.mean))))
    about = _about(path, arrays, header)
    users, report = about["users"], about["report"]
    basis, people = _assemble(path, arrays)
    if len(users) != len(people.mean):
        raise ValueError(f"{path} names {len(users)} users and has {len(people.mean)}")
    reads = _encoder(path, arrays, about, encoder)
    return PreferenceModel(basis, people, tuple(users), report, reads)


def _about(path: Path, arrays, header: Mapping[str, str]) -> dict[str, Any]:
    """The header, of which the digest holds."""
    try:
        about = json.loads(header["prefjax"])
        version, digest, users = about["format"], about["digest"], about["users"]
        report = about["report"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: its header cannot be read ({error})") from error
    if version not in _READ:
        raise ValueError(f"{path} is in format {version}; this version reads {_READ}")
    expected = _digest(arrays, about) if version == FORMAT else _digest_2(arrays, users, report)
    if expected != digest:
        raise ValueError(f"{path}: its content differs from its digest; the file was changed")
    return about


def _encoder(path: Path, arrays, about, encoder: Encoder | None) -> ModelEncoder | None:
    """How the model reads texts."""
    if about.get("encoder") is None:
        return None if encoder is None else ModelEncoder.of(encoder)
    try:
        record = EncoderRecord.from_json(about["encoder"])
        own = {
            name.removeprefix(_ENCODER): array
            for name, array in arrays.items()
            if name.startswith(_ENCODER)
        }
        probes = own["probes"]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: its encoder cannot be read ({error})") from error
    if probes.shape[1:] != (record.width,):
        raise ValueError(f"{path}: its encoder has width {record.width} and {probes.shape}")
    return ModelEncoder(record, own, encoder)


def _read(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no model: {error}") from error
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, expected float32")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds values that are not finite")
    return arrays, header


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    """Of everything that a model says."""
    stored = (arrays[name] for name in sorted(arrays))
    said = {name: value for name, value in about.items() if name != "digest"}
    return digest_json([sorted(arrays), digest_arrays(*stored), said])


def _digest_2(arrays: Mapping[str, np.ndarray], users: Any, report: Any) -> str:
    """The same in format 2."""
    stored = (arrays[name] for name in sorted(arrays))
    return digest_json([2, sorted(arrays), digest_arrays(*stored), list(users), report])


def _assemble(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[RewardBasis, Gaussian]:
    missing = [name for name in (*_NAMED, "posterior_scale") if name not in arrays]
    if missing or not any(name.startswith("params/out/") for name in arrays):
        raise ValueError(f"{path}: arrays are missing: {', '.join(missing) or 'params/out'}")
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        if name.startswith("params/"):
            *parents, last = name.removeprefix("params/").split("/")
            node = params
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = array
    population = Gaussian(arrays["population.mean"], arrays["population.covariance"])
    people = Gaussian(arrays["people.mean"], arrays["people.covariance"])
    _check(path, params, population, people)
    mixture = _mixture(path, arrays, len(population.mean))
    basis = RewardBasis(params, mixture or population, arrays["posterior_scale"])
    return basis, people


def _mixture(path: Path, arrays: Mapping[str, np.ndarray], num_factors: int) -> Mixture | None:
    """The population of a model in which it is a mixture."""
    missing = [name for name in _MIXTURE if name not in arrays]
    if len(missing) == len(_MIXTURE):
        return None
    if missing:
        raise ValueError(f"{path}: arrays are missing: {', '.join(missing)}")
    log_weight, mean, covariance = (arrays[name] for name in _MIXTURE)
    shape = *np.shape(log_weight), num_factors
    if mean.shape != shape or covariance.shape != (*shape, num_factors):
        raise ValueError(
            f"{path}: the mixture has shapes {log_weight.shape}, {mean.shape} and "
            f"{covariance.shape}, which do not belong together"
        )
    mixture = Mixture(log_weight, Gaussian(mean, covariance))
    try:
        check_population(mixture, "the population")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return mixture


def _check(path: Path, params, population: Gaussian, people: Gaussian) -> None:
    """Shapes that belong together, and covariances that are ones."""
    num_factors = len(population.mean)
    shapes = {
        "population.covariance": (population.covariance.shape, (num_factors, num_factors)),
        "people.mean": (people.mean.shape[1:], (num_factors,)),
        "people.covariance": (
            people.covariance.shape,
            (len(people.mean), num_factors, num_factors),
        ),
        "params/out/kernel": (params["out"]["kernel"].shape[1:], (num_factors + 1,)),
        "params/out/bias": (params["out"]["bias"].shape, (num_factors + 1,)),
    }
    if "spread" in params:
        kernel, bias = params["spread"]["kernel"], params["spread"]["bias"]
        expected = (len(params["out"]["kernel"]), *bias.shape)
        shapes["params/spread/kernel"] = (kernel.shape, expected)
    for name, (found, expected) in shapes.items():
        if tuple(found) != expected:
            raise ValueError(f"{path}: {name} has shape {found}, expected {expected}")
    for name, covariance in (
        ("population.covariance", population.covariance[None]),
        ("people.covariance", people.covariance),
    ):
        transposed = np.swapaxes(covariance, -1, -2)
        scale = np.abs(covariance).max(initial=1e-30)
        if np.abs(covariance - transposed).max(initial=0) > 1e-4 * scale:
            raise ValueError(f"{path}: {name} is not symmetric")
        if num_factors and len(covariance) and np.linalg.eigvalsh(covariance).min() <= 0:
            raise ValueError(f"{path}: {name} is not positive definite")


def _first_format(path: Path, arrays) -> tuple[RewardBasis, Gaussian]:
    """A model of format 1, whose description lay in a file of its own."""
    names = {"head", "prior_mean", "prior_precision", "weight", "covariance"}
    if set(arrays) != names:
        raise ValueError(
            f"{path} is no model: it holds {', '.join(sorted(arrays)[:6]) or 'nothing'}"
        )
    precision = arrays["prior_precision"].astype(np.float64)
    if np.linalg.eigvalsh((precision + precision.T) / 2).min() <= 0:
        raise ValueError(f"{path}: prior_precision is not positive definite")
    covariance = np.linalg.inv(precision)
    head = arrays["head"]
    params = {"out": {"kernel": head, "bias": np.zeros(head.shape[1], np.float32)}}
    covariance = ((covariance + covariance.T) / 2).astype(np.float32)
    population = Gaussian(arrays["prior_mean"], covariance)
    people = Gaussian(arrays["weight"], arrays["covariance"])
    _check(path, params, population, people)
    return RewardBasis(params, population, np.asarray(1.0, np.float32)), people

"""Text to embedding, behind one contract, with a cache on disk.

``make_hashed()`` and ``fit_hashed(texts)`` need no download; ``encode_cached`` runs any encoder
through the cache. An encoder is anything with ``fingerprint`` and ``encode`` (see ``Encoder``).
"""

from prefjax.encoders.cache import default_folder, encode_cached
from prefjax.encoders.contract import Encoder, check_texts
from prefjax.encoders.hashed import HashedConfig, HashedEncoder, fit_hashed, make_hashed

__all__ = [
    "Encoder",
    "HashedConfig",
    "HashedEncoder",
    "check_texts",
    "default_folder",
    "encode_cached",
    "fit_hashed",
    "make_hashed",
]

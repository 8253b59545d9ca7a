"""Text to embedding, behind one contract, with a cache on disk.

``get_encoder(specification)`` gives ``hashed``, ``minilm``, a language model, or a sum of them;
``specification_of`` an encoder is the line that makes it again. ``fit_hashed`` fits the first to
texts. ``encode_cached`` runs any encoder through the cache, ``encode_variants`` several readings of
a language model in one pass, ``encode_corpus`` and ``encode_on_ray`` embed what is too large for
one process, texts of Parquet files (``ParquetTexts``) without reading all of them. An encoder is
anything with ``fingerprint`` and ``encode`` (see ``Encoder``); a text is a string, or a pair of
prompt and response.
"""

from prefjax.encoders._style import STYLE_NAMES, style
from prefjax.encoders.cache import default_folder, encode_cached, encode_variants_cached
from prefjax.encoders.contract import Encoder, Lengths, Text, TokenEncoder, check_texts
from prefjax.encoders.corpus import encode_corpus, read_corpus
from prefjax.encoders.hashed import HashedConfig, HashedEncoder, fit_hashed, make_hashed
from prefjax.encoders.language import LanguageEncoder, encode_variants, make_language_encoder
from prefjax.encoders.language_config import PAPER, LanguageConfig
from prefjax.encoders.named import encode_candidates, encode_responses, fit_encoder, get_encoder
from prefjax.encoders.on_ray import encode_on_ray
from prefjax.encoders.parquet import ParquetTexts
from prefjax.encoders.scores import ScoreEncoder, make_score_encoder
from prefjax.encoders.sentence import SentenceEncoder, make_minilm, make_sentence_encoder
from prefjax.encoders.serving import as_read, encode_few
from prefjax.encoders.sums import SumEncoder, specification_of
from prefjax.encoders.template import chat_prompt

__all__ = [
    "PAPER",
    "STYLE_NAMES",
    "Encoder",
    "HashedConfig",
    "HashedEncoder",
    "LanguageConfig",
    "LanguageEncoder",
    "Lengths",
    "ParquetTexts",
    "ScoreEncoder",
    "SentenceEncoder",
    "SumEncoder",
    "Text",
    "TokenEncoder",
    "as_read",
    "chat_prompt",
    "check_texts",
    "default_folder",
    "encode_cached",
    "encode_candidates",
    "encode_corpus",
    "encode_few",
    "encode_on_ray",
    "encode_responses",
    "encode_variants",
    "encode_variants_cached",
    "fit_encoder",
    "fit_hashed",
    "get_encoder",
    "make_hashed",
    "make_language_encoder",
    "make_minilm",
    "make_score_encoder",
    "make_sentence_encoder",
    "read_corpus",
    "specification_of",
    "style",
]

"""Text to embedding, behind one contract, with a cache on disk.

``get_encoder(name)`` gives ``hashed``, ``minilm``, ``offline-lm`` or a Qwen model; ``fit_hashed``
fits the first to texts. ``encode_cached`` runs any encoder through the cache, ``encode_corpus``
embeds what is too large for one process. An encoder is anything with ``fingerprint`` and ``encode``
(see ``Encoder``); a text is a string, or a pair of prompt and response.
"""

from prefjax.encoders._style import STYLE_NAMES, style
from prefjax.encoders.cache import default_folder, encode_cached
from prefjax.encoders.contract import Encoder, Lengths, Text, TokenEncoder, check_texts
from prefjax.encoders.corpus import encode_corpus, read_corpus
from prefjax.encoders.hashed import HashedConfig, HashedEncoder, fit_hashed, make_hashed
from prefjax.encoders.language import LanguageConfig, LanguageEncoder, make_language_encoder
from prefjax.encoders.named import encode_responses, get_encoder
from prefjax.encoders.sentence import SentenceEncoder, make_minilm, make_sentence_encoder
from prefjax.encoders.template import chat_prompt

__all__ = [
    "STYLE_NAMES",
    "Encoder",
    "HashedConfig",
    "HashedEncoder",
    "LanguageConfig",
    "LanguageEncoder",
    "Lengths",
    "SentenceEncoder",
    "Text",
    "TokenEncoder",
    "chat_prompt",
    "check_texts",
    "default_folder",
    "encode_cached",
    "encode_corpus",
    "encode_responses",
    "fit_hashed",
    "get_encoder",
    "make_hashed",
    "make_language_encoder",
    "make_minilm",
    "make_sentence_encoder",
    "read_corpus",
    "style",
]

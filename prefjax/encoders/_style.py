"""How a text is written: counts of word classes, punctuation and shape, no vocabulary of topics.

With c the count of a class and n the number of words, each class gives ``log(1 + c)`` and
``√(c / (1 + n))``; beside them stand lengths, word length, variety of words and how the text ends.
All are of order one, and a difference of two texts is linear in what a reader would call style.

References:
    Biber (1988), "Variation across speech and writing": the classes of function words.
"""

import re

import numpy as np
from jaxtyping import Float32

_CLASSES = {
    "first_singular": "i me my mine myself",
    "first_plural": "we us our ours ourselves",
    "second": "you your yours yourself yourselves",
    "third": "he him his she her hers they them their theirs it its",
    "article": "a an the",
    "demonstrative": "this that these those",
    "preposition": "of in on at by for from with about into over under between through during upon",
    "conjunction": "and or but so because since unless although though while whereas",
    "connective": "however therefore furthermore moreover consequently thus hence nevertheless "
    "nonetheless accordingly additionally regarding concerning pursuant whereby therein notably",
    "modal": "can could may might shall should will would must",
    "hedge": "maybe perhaps possibly probably likely seemingly apparently roughly somewhat fairly "
    "guess suppose think seems seem appears appear tend tends usually often sometimes generally "
    "typically unsure unclear uncertain depends depending arguably presumably",
    "booster": "definitely certainly clearly obviously absolutely undoubtedly always never surely "
    "indeed exactly precisely completely totally guaranteed proven undeniably without",
    "intensifier": "very really so extremely incredibly super truly highly deeply hugely",
    "praise": "great amazing awesome wonderful fantastic love excellent brilliant exciting excited "
    "delighted thrilled glad happy best perfect beautiful incredible superb lovely fun enjoy",
    "polite": "please thanks thank kindly sorry appreciate grateful welcome pardon apologies "
    "gladly respectfully sir madam dear",
    "greeting": "hi hello hey greetings howdy welcome cheers",
    "informal": "yeah yep nope ok okay gonna wanna gotta kinda sorta stuff guys cool lol haha btw "
    "dunno ain't y'all folks pretty basically literally heck whoa wow oh ah hmm well",
    "question": "what why how when where who which whose whom",
    "negation": "not no never nothing none nobody cannot neither nor without",
    "comparison": "like as than more less most least similar unlike rather",
}
_PUNCTUATION = "?!,;:.()\"'-*#—…/"
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$|[\"')])")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s", re.MULTILINE)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]|[:;]-?[)D(P]")
_ABSTRACT = ("tion", "sion", "ment", "ity", "ness", "ance", "ence", "ism")
_CLASS_OF = {
    word: index
    for index, words in reversed(list(enumerate(_CLASSES.values())))
    for word in words.split()
}
_COUNTED = (
    *(name.replace("_", " ") + " words" for name in _CLASSES),
    *("question marks", "exclamation marks", "commas", "semicolons", "colons", "full stops"),
    *("opening brackets", "closing brackets", "double quotes", "single quotes", "hyphens"),
    *("asterisks", "hash signs", "dashes", "ellipses", "slashes"),
    *("apostrophes in words", "numbers", "abstract nouns", "long words", "capitals"),
    *("list items", "emoji", "line breaks"),
)
_SHAPES = (
    *("words (log)", "words", "sentences (log)", "words a sentence (log)", "letters a word"),
    *("variety of words", "longest word (log)", "ends with a question", "ends with an exclamation"),
)
STYLE_NAMES = (*_COUNTED, *(f"{name} per word" for name in _COUNTED), *_SHAPES)
"""What each number of `style` is, in its order."""
_NUM_COUNTS = len(_CLASSES) + len(_PUNCTUATION) + 8
_NUM_SHAPES = 9
NUM_FEATURES = 2 * _NUM_COUNTS + _NUM_SHAPES


def style(text: str) -> Float32[np.ndarray, " feature"]:
    """Style features of one text; all zero for the empty text.

    Args:
        text: Any text.
    """
    words = _WORD.findall(text.lower())
    num_words = len(words)
    counts = np.zeros(_NUM_COUNTS)
    for word in words:
        index = _CLASS_OF.get(word)
        if index is not None:
            counts[index] += 1
    letters = [len(word) for word in words]
    counts[len(_CLASSES) :] = [
        *map(text.count, _PUNCTUATION),
        sum("'" in word or "’" in word for word in words),
        sum(word.isdigit() for word in words),
        sum(word.endswith(_ABSTRACT) for word in words),
        sum(length >= 8 for length in letters),
        sum(letter.isupper() for letter in text),
        len(_LIST_ITEM.findall(text)),
        len(_EMOJI.findall(text)),
        text.count("\n"),
    ]
    num_sentences = len(_SENTENCE_END.findall(text))
    end = text.rstrip()[-1:]
    shapes = [
        np.log1p(num_words),
        num_words / 100,
        np.log1p(num_sentences),
        np.log1p(num_words / max(num_sentences, 1)),
        sum(letters) / max(num_words, 1) / 4,
        len(set(words)) / max(num_words, 1),
        np.log1p(max(letters, default=0)),
        end == "?",
        end == "!",
    ]
    rates = np.sqrt(counts / (1 + num_words))
    return np.concatenate([np.log1p(counts), rates, shapes]).astype(np.float32)

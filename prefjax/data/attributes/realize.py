"""From a recipe to a text: one answer to one prompt in a given style.

A style is a vector of seven levels in [-1, 1], one per attribute. Length decides how many of the
facts appear. Formality is the register of every sentence and the linking words. The other five
show through devices, whose number grows with the level: a device is a phrase at the opening, in
the middle or at the end, or a change of a sentence (a hedge in front, an exclamation mark). The
structure is drawn apart from the style: one paragraph, several, a bulleted or a numbered list, the
core answer first or last.
"""

import numpy as np
from jaxtyping import Float

from prefjax.data.attributes.material import ADVICE, ATTRIBUTES, Prompt, Sentence, load_phrases
from prefjax.data.attributes.register import NUM_VARIANTS, lower_first, rephrase

_LEAD_IN = ("In short:", "The short version:", "To sum up:", "So, in a nutshell:", "All in all:")
_LIST_INTRO = (
    "Some more on this:",
    "A few points that count here:",
    "What else is good to know:",
    "The details:",
    "Here is what lies behind it:",
)
_CLOSE_ORDER = ("formality", "confidence", "enthusiasm", "humor", "politeness", "elicitation")
_OPEN_ORDER = ("politeness", "enthusiasm", "formality", "humor", "confidence", "elicitation")
_DOUBT = (" will ", (" may ", " might ", " could ", " will probably "))


class _Draft:
    """The pieces of one response while it is being written."""

    def __init__(
        self,
        prompt: Prompt,
        style: Float[np.ndarray, " attribute"],
        split: str,
        rng: np.random.Generator,
    ):
        self.prompt = prompt
        self.level: dict[str, float] = {
            name: float(x) for name, x in zip(ATTRIBUTES, style, strict=True)
        }
        self.phrases = load_phrases(split)
        self.random = rng.random(400).tolist()
        self.used: set[str] = set()
        self.opening: dict[str, str] = {}
        self.middle: dict[int, str] = {}
        self.closing: dict[str, str] = {}

    def chance(self, probability: float) -> bool:
        return self.random.pop() < probability

    def pick(self, options):
        return options[int(self.random.pop() * len(options))]

    def count(self, expected: float) -> int:
        """A whole number with this mean: its floor or one more."""
        return int(expected) + self.chance(expected % 1)

    def pole(self, attribute: str) -> str:
        return "plus" if self.level[attribute] > 0 else "minus"

    def phrase(self, attribute: str, position: str) -> str | None:
        """An unused phrase of the attribute at its level, in the register of the response."""
        key = (attribute, self.pole(attribute), position)
        options = [text for text in self.phrases.get(key, ()) if text not in self.used]
        if not self.prompt.core.imperative:
            options = [text for text in options if not text.startswith(ADVICE)]
        if attribute == "humor" and key[1] == "plus" and position != "open" and self.chance(0.6):
            options = [text for text in self.prompt.jokes if text not in self.used] or options
        if attribute == "elicitation" and key[1:] == ("plus", "close") and self.chance(0.6):
            options = [text for text in self.prompt.asks if text not in self.used] or options
        if not options:
            return None
        chosen = self.pick(options)
        self.used.add(chosen)
        if chosen in self.prompt.jokes and self.chance(0.6):
            frames = self.phrases["humor", "plus", "frame"]
            chosen = (
                f"{chosen} {self.pick(frames)}" if not self.used.intersection(frames) else chosen
            )
            self.used.update(frames)
        text = chosen.removeprefix(ADVICE).replace("{subject}", self.prompt.subject)
        return self.voice(text[0].upper() + text[1:])

    def voice(self, text: str) -> str:
        """The text in the register that the level of formality asks for."""
        level = self.level["formality"]
        if level > 0 and self.chance(0.3 + 0.7 * level):
            register = "formal"
        elif level < 0 and self.chance(0.3 - 0.7 * level):
            register = "informal"
        else:
            register = "contracted" if self.chance(0.5 - 0.5 * level) else "plain"
        return rephrase(text, register, int(self.random.pop() * NUM_VARIANTS))

    def positions(self, attribute: str, free: list[int]) -> list[str]:
        """Where a phrase of this attribute may stand without contradicting another one."""
        allowed = ["open"] if len(self.opening) < 2 and attribute not in self.opening else []
        if (attribute, self.pole(attribute), "mid") in self.phrases and free:
            allowed.append("mid")
        clash = self.level["elicitation"] * self.level["politeness"] < 0
        if not (attribute == "politeness" and clash) and attribute not in self.closing:
            allowed.append("close")
        return allowed

    def add_phrase(self, attribute: str, num_sentences: int) -> None:
        free = [place for place in range(num_sentences - 1) if place not in self.middle]
        allowed = self.positions(attribute, free)
        if not allowed:
            return
        position = self.pick(allowed)
        text = self.phrase(attribute, position)
        if text is None:
            return
        if position == "open":
            self.opening[attribute] = text
        elif position == "close":
            self.closing[attribute] = text
        else:
            self.middle[self.pick(free)] = text

    def aside(self, place: int) -> list[str]:
        return [self.middle[place]] if place in self.middle else []

    def modify(self, sentence: Sentence, hedged: bool, linked: bool, raised: bool) -> str:
        """One sentence of content with its hedge, its linking word and its exclamation mark."""
        text = sentence.text
        if hedged:
            position = "wrap" if sentence.imperative else "prefix"
            key = ("confidence", self.pole("confidence"), position)
            options = [lead for lead in self.phrases[key] if lead not in self.used]
            lead = self.pick(options or self.phrases[key])
            self.used.add(lead)
            text = f"{lead} {lower_first(text)}"
        elif linked:
            level = self.level["formality"]
            kind = "plus" if level > 0.25 else "minus" if level < -0.25 else "zero"
            leads = self.phrases["formality", kind, "connect"]
            leads = [lead for lead in leads if lead not in self.used]
            leads = [lead for lead in leads if not (sentence.imperative and lead.endswith("that"))]
            if leads:
                lead = self.pick(leads)
                self.used.add(lead)
                text = f"{lead} {lower_first(text)}"
        if self.chance(-self.level["confidence"]):
            text = text.replace(_DOUBT[0], self.pick(_DOUBT[1]))
        text = self.voice(text)
        return text[:-1] + "!" if raised and text.endswith(".") else text


def realize(
    prompt: Prompt,
    style: Float[np.ndarray, " attribute"],
    rng: np.random.Generator,
    *,
    split: str = "train",
) -> str:
    r"""Write one response.

    Args:
        prompt: What is asked, with the facts.
        style: Level of each attribute in [-1, 1], in the order of ``ATTRIBUTES``.
        rng: Source of all choices; the same state gives the same text.
        split: Which reserved part of the phrases to use, ``"train"`` or ``"test"``.

    Returns:
        The text, with ``\n`` between paragraphs and list items.
    """
    draft = _Draft(prompt, style, split, rng)
    level = draft.level
    num_facts = min(7, draft.count(3.5 + 3.5 * level["length"]))
    chosen = sorted(rng.permutation(len(prompt.facts))[:num_facts].tolist())
    sentences = [prompt.core, *(prompt.facts[index] for index in chosen)]
    listed = num_facts >= 3 and draft.chance(0.4)
    core_last = num_facts >= 2 and not listed and prompt.core.imperative and draft.chance(0.2)
    if core_last:
        sentences = [*sentences[1:], sentences[0]]

    room = 1.0 + 0.5 * min(num_facts, 4) / 4
    hedges = draft.count(2.0 * room * abs(level["confidence"]))
    phrased = min(1, hedges // 2) if num_facts else draft.chance(0.5) * min(1, hedges)
    hedged = set(rng.permutation(len(sentences))[: hedges - phrased].tolist())
    marks = draft.count(2.0 * room * level["enthusiasm"]) if level["enthusiasm"] > 0 else 0
    raised = set(rng.permutation(len(sentences))[: marks // 2].tolist())
    wanted = {
        "formality": draft.count(0.9 * abs(level["formality"])),
        "humor": draft.count(1.6 * room * abs(level["humor"])),
        "elicitation": draft.count(1.6 * room * abs(level["elicitation"])),
        "politeness": draft.count(1.8 * room * abs(level["politeness"])),
        "enthusiasm": draft.count(1.5 * room * abs(level["enthusiasm"])),
        "confidence": phrased,
    }
    names = list(wanted)
    for index in rng.permutation(len(names)).tolist():
        for _ in range(wanted[names[index]]):
            draft.add_phrase(names[index], len(sentences))

    content = []
    for place, sentence in enumerate(sentences):
        link = place > 1 and not listed and not (core_last and place == num_facts)
        linked = link and draft.chance(0.2 + 0.25 * abs(level["formality"]))
        content.append(draft.modify(sentence, place in hedged, linked, place in raised))
    if core_last:
        content[-1] = f"{draft.pick(_LEAD_IN)} {lower_first(content[-1])}"
    return _lay_out(draft, content, listed)


def _lay_out(draft: _Draft, content: list[str], listed: bool) -> str:
    """Join openings, content, asides and closings into paragraphs or a list."""
    opening = [draft.opening[name] for name in _OPEN_ORDER if name in draft.opening]
    closing = [draft.closing[name] for name in _CLOSE_ORDER if name in draft.closing]
    if listed:
        head = [*opening, content[0], *draft.aside(0)]
        numbered = draft.chance(0.4)
        bullet = draft.pick(("-", "*", "•"))
        items = [
            " ".join([f"{index}." if numbered else bullet, text, *draft.aside(index)])
            for index, text in enumerate(content[1:], start=1)
        ]
        intro = [draft.voice(draft.pick(_LIST_INTRO))] if draft.chance(0.5) else []
        tail = [" ".join(closing)] if closing else []
        blank = "\n\n"
        return blank.join([" ".join([*head, *intro]), "\n".join(items), *tail])
    body = [" ".join([text, *draft.aside(place)]) for place, text in enumerate(content)]
    if len(body) >= 4 and draft.chance(0.5):
        cut = 1 + int(draft.random.pop() * (len(body) - 2))
        paragraphs = [[*opening, *body[:cut]], body[cut:], closing]
    elif draft.chance(0.3):
        paragraphs = [opening, body, closing]
    else:
        paragraphs = [[*opening, *body, *closing]]
    return "\n\n".join(" ".join(parts) for parts in paragraphs if parts)

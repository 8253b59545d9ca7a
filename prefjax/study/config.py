"""What a study is: `StudyConfig`, read from ``study.toml``.

Texts for participants (consent, information, end) are Markdown. Everything has a default but the
consent, the practice trial and the attention checks, which somebody must write.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from prefjax.io.digest import digest_json
from prefjax.person import get_rule
from prefjax.settings import check_settings

FEWEST_CHECKS = 2
"""Attention checks that must be failed before an answer may be refused (Prolific's rule)."""


@dataclass(frozen=True)
class PhasesConfig:
    """The trials of a person, apart from the test trials, which ``arms`` counts.

    Attributes:
        num_adaptive: Questions from which the person is learned.
        num_repeats: Test trials that are shown again with the sides swapped.
        rule: How questions are chosen, a name in `prefjax.person.RULES`.
        time_limit: Seconds after which a question drawn in advance is asked instead.

    Raises:
        ValueError: There is no adaptive question, or the rule is unknown.
    """

    num_adaptive: int = 15
    num_repeats: int = 2
    rule: str = "d_optimal"
    time_limit: float = 2.0

    def __post_init__(self):
        get_rule(self.rule)
        check_settings(self, "num_adaptive", positive=("time_limit",))


@dataclass(frozen=True)
class ArmsConfig:
    """Test trials of each arm; what the arm shows stands against the default response.

    Attributes:
        personal: The best candidate for the person.
        other: The best candidate for somebody else, who took part in the model's training.
        default: A candidate drawn at random, as the default was: a control whose win rate is ½ if
            the default is one of the candidates at random.
    """

    personal: int = 9
    other: int = 3
    default: int = 3

    def __post_init__(self):
        check_settings(self, "personal")

    @property
    def num_trials(self) -> int:
        """Test trials in all."""
        return self.personal + self.other + self.default


@dataclass(frozen=True)
class ExampleTrial:
    """A question with two answers that does not come from the materials.

    Attributes:
        question: What was asked.
        answers: The two texts, left and right.
    """

    question: str
    answers: tuple[str, str]


@dataclass(frozen=True)
class AttentionCheck:
    """A trial whose question says which button to press.

    Attributes:
        question: The instruction.
        answers: The two texts, left and right.
        expected: The button that the question names.
    """

    question: str
    answers: tuple[str, str]
    expected: Literal["A", "B", "N"]


@dataclass(frozen=True)
class SurveyOption:
    """One answer to a question of the survey.

    Attributes:
        text: What is shown.
        prior_shift: What the answer adds to the mean of the person's prior, J numbers; None for
            nothing.
        screen_out: Whether who says this cannot take part.
    """

    text: str
    prior_shift: tuple[float, ...] | None = None
    screen_out: bool = False


@dataclass(frozen=True)
class SurveyQuestion:
    """A question before the trials.

    Attributes:
        id: Name in the export.
        text: The question.
        options: The answers; none for a line of free text.
        required: Whether it must be answered.

    Raises:
        ValueError: There is one option only, or an option stands twice.
    """

    id: str
    text: str
    options: tuple[SurveyOption, ...] = ()
    required: bool = True

    def __post_init__(self):
        texts = [option.text for option in self.options]
        if len(texts) == 1 or len(set(texts)) < len(texts):
            raise ValueError(f"question {self.id!r} needs two different options, or none")


@dataclass(frozen=True)
class RecruitingConfig:
    """Where people come from.

    Attributes:
        parameters: Parameters of the first link that are kept.
        identity: The one that names a person, who takes part once.
        complete_code: Shown at the end.
        screened_out_code: Shown to who cannot take part.
        withdrawn_code: Shown to who withdrew.
        return_url: Link at the end, in which ``{code}`` stands for the code.

    Raises:
        ValueError: ``identity`` is not among the parameters, or two codes are the same.
    """

    parameters: tuple[str, ...] = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
    identity: str = "PROLIFIC_PID"
    complete_code: str = "COMPLETE"
    screened_out_code: str = "SCREENED-OUT"
    withdrawn_code: str = "WITHDRAWN"
    return_url: str = ""

    def __post_init__(self):
        if self.identity not in self.parameters:
            raise ValueError(f"identity {self.identity!r} is not among {self.parameters}")
        codes = (self.complete_code, self.screened_out_code, self.withdrawn_code)
        if len(set(codes)) < 3:
            raise ValueError(f"complete, screened out and withdrawn need three codes, got {codes}")
        if self.return_url and not self.return_url.startswith("https://"):
            raise ValueError(f"return_url must begin with https://, got {self.return_url!r}")


@dataclass(frozen=True)
class StopConfig:
    """When nobody new is let in; who has begun may finish.

    Attributes:
        complete: People who have finished.
        deadline: Time in ISO 8601 with its zone, such as ``2027-01-31T12:00:00+00:00``; empty for
            none.

    Raises:
        ValueError: The deadline is no such time.
    """

    complete: int = 28
    deadline: str = ""

    def __post_init__(self):
        check_settings(self, "complete")
        if self.deadline and datetime.fromisoformat(self.deadline).tzinfo is None:
            raise ValueError(f"deadline {self.deadline!r} has no time zone, such as +00:00")

    @property
    def deadline_at(self) -> float:
        """Seconds since 1970; infinite without a deadline."""
        return datetime.fromisoformat(self.deadline).timestamp() if self.deadline else math.inf


@dataclass(frozen=True)
class PowerConfig:
    """What the study was planned to find, written down before it.

    Attributes:
        effect: Win rate of the personal arm above ½ that should be found.
        level: Coverage of every interval.
        power: Probability to find it that was wanted.
    """

    effect: float = 0.1
    level: float = 0.95
    power: float = 0.8

    def __post_init__(self):
        check_settings(self, positive=("effect",))
        if not (self.effect < 0.5 and 0 < self.level < 1 and 0 < self.power < 1):
            raise ValueError(
                "effect must lie in (0, ½), level and power in (0, 1); got "
                f"{self.effect}, {self.level}, {self.power}"
            )


@dataclass(frozen=True)
class LimitsConfig:
    """What the server bears.

    Attributes:
        starts_per_minute: People who begin, from one address.
        requests_per_second: Requests of one participant, on average.
        burst: Requests of one participant at once.
        body: Largest body of a request, in bytes.
        response_time: Seconds that the page of every trial takes at least, so that the time does
            not tell which trial it is.
    """

    starts_per_minute: int = 60
    requests_per_second: float = 20.0
    burst: int = 100
    body: int = 65536
    response_time: float = 0.1

    def __post_init__(self):
        check_settings(
            self, "starts_per_minute", "burst", "body", positive=("requests_per_second",)
        )


@dataclass(frozen=True)
class StudyConfig:
    """A study.

    Attributes:
        consent: What is agreed to; its digest and the time are kept.
        practice: Trials before the first one, not counted.
        attention: Checks; half of them come in each phase.
        title: Heading of every page.
        language: Language of the pages, such as ``en``.
        seed: Seed of everything that is drawn, with the participant.
        information: The page on what the study is and who answers for it.
        simulated: Says that no real person takes part, on every page and in the report.
        ask_reasons: Whether people may say at the end what they looked for.
        survey: Questions before the trials.
        phases: Adaptive questions and repeats.
        arms: Test trials.
        recruiting: Where people come from.
        stop: When nobody new is let in.
        power: What was planned.
        limits: What the server bears.

    Raises:
        ValueError: A part is missing or contradicts another.
    """

    consent: str
    practice: tuple[ExampleTrial, ...]
    attention: tuple[AttentionCheck, ...]
    title: str = "Which answer do you prefer?"
    language: str = "en"
    seed: int = 0
    information: str = ""
    simulated: bool = False
    ask_reasons: bool = True
    survey: tuple[SurveyQuestion, ...] = ()
    phases: PhasesConfig = field(default_factory=PhasesConfig)
    arms: ArmsConfig = field(default_factory=ArmsConfig)
    recruiting: RecruitingConfig = field(default_factory=RecruitingConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    power: PowerConfig = field(default_factory=PowerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def __post_init__(self):
        check_settings(self)
        if not self.consent.strip():
            raise ValueError("consent is empty: say what people agree to")
        if not self.practice:
            raise ValueError("practice is empty: people need one trial to learn the page")
        if len(self.attention) < FEWEST_CHECKS:
            raise ValueError(f"attention needs at least {FEWEST_CHECKS} checks")
        names = [question.id for question in self.survey]
        if len(set(names)) < len(names):
            raise ValueError(f"two questions of the survey share an id: {names}")
        if self.phases.num_repeats > self.arms.num_trials // 2:
            raise ValueError(
                f"{self.phases.num_repeats} repeats of {self.arms.num_trials} test trials; at most "
                "half can be repeated"
            )

    @property
    def consent_version(self) -> str:
        """Digest of the consent, kept with everybody who agreed to it."""
        return digest_json(self.consent)[:16]

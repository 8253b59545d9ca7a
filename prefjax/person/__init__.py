"""Given a basis, one person: weights from answers, how uncertain they are, what to ask next.

`adapt` solves for many new people at once, `laplace` has posteriors and win probabilities,
`acquisition` scores questions, `pools` finds the best one exactly, `interview` asks one person as
one ``lax.scan`` and `Person` does the same live. `audit_answers` says who answers like a coin.
"""

from prefjax.person import laplace
from prefjax.person._adapt import (
    adapt,
    adapt_checked,
    adapt_path,
    ridge_losses,
    ridge_prior,
)
from prefjax.person._interview import (
    InterviewConfig,
    InterviewPath,
    InterviewState,
    interview,
    make_recorded,
    make_simulated,
)
from prefjax.person.acquisition import RULES, Moments, Rule, get_rule, score
from prefjax.person.answer_audit import (
    AnswerAudit,
    AnswerAuditConfig,
    audit_answers,
    describe_audit,
)
from prefjax.person.answers import ChoiceShown, LoggedAnswer, LoggedChoice, Question, Shown
from prefjax.person.checks import check_gaussian
from prefjax.person.choices import adapt_choices, choice_gain, select_choice
from prefjax.person.host import Person
from prefjax.person.items import describe
from prefjax.person.pools import (
    PairPool,
    Pool,
    PoolQuestion,
    ResponsePool,
    gap_at,
    select,
    select_batch,
    split_index,
)
from prefjax.person.ranking import Ranking, rank_many
from prefjax.person.reading import EmbeddingReader, Reader, basis_digest

__all__ = [
    "RULES",
    "AnswerAudit",
    "AnswerAuditConfig",
    "ChoiceShown",
    "EmbeddingReader",
    "InterviewConfig",
    "InterviewPath",
    "InterviewState",
    "LoggedAnswer",
    "LoggedChoice",
    "Moments",
    "PairPool",
    "Person",
    "Pool",
    "PoolQuestion",
    "Question",
    "Ranking",
    "Reader",
    "ResponsePool",
    "Rule",
    "Shown",
    "adapt",
    "adapt_checked",
    "adapt_choices",
    "adapt_path",
    "audit_answers",
    "basis_digest",
    "check_gaussian",
    "choice_gain",
    "describe",
    "describe_audit",
    "gap_at",
    "get_rule",
    "interview",
    "laplace",
    "make_recorded",
    "make_simulated",
    "rank_many",
    "ridge_losses",
    "ridge_prior",
    "score",
    "select",
    "select_batch",
    "select_choice",
    "split_index",
]

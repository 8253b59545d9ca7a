"""Which question to ask a new user next.

`acquisition` scores questions, `pool` finds the best one exactly, `loop` interviews a user as one
``lax.scan`` and `session` does the same live.
"""

from prefjax.person._adapt import adapt as adapt
from prefjax.person._adapt import adapt_path as adapt_path
from prefjax.person._adapt import adapt_users as adapt_users
from prefjax.person._adapt import ridge_losses as ridge_losses
from prefjax.person._adapt import ridge_prior as ridge_prior
from prefjax.person.acquisition import RULES as RULES
from prefjax.person.acquisition import Belief as Belief
from prefjax.person.acquisition import Moments as Moments
from prefjax.person.acquisition import Rule as Rule
from prefjax.person.acquisition import get_rule as get_rule
from prefjax.person.acquisition import score as score
from prefjax.person.interview import ElicitConfig as ElicitConfig
from prefjax.person.interview import ElicitPath as ElicitPath
from prefjax.person.interview import elicit as elicit
from prefjax.person.interview import make_recorded as make_recorded
from prefjax.person.interview import make_simulated as make_simulated
from prefjax.person.pools import PairPool as PairPool
from prefjax.person.pools import Pool as Pool
from prefjax.person.pools import Question as Question
from prefjax.person.pools import ResponsePool as ResponsePool
from prefjax.person.pools import gap_at as gap_at
from prefjax.person.pools import select as select
from prefjax.person.pools import select_batch as select_batch
from prefjax.person.pools import split_index as split_index
from prefjax.person.session import Asked as Asked
from prefjax.person.session import Session as Session

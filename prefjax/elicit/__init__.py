"""Which question to ask a new user next.

`acquisition` scores questions, `pool` finds the best one exactly, `loop` interviews a user as one
``lax.scan`` and `session` does the same live.
"""

from prefjax.elicit.acquisition import RULES as RULES
from prefjax.elicit.acquisition import Belief as Belief
from prefjax.elicit.acquisition import Moments as Moments
from prefjax.elicit.acquisition import Rule as Rule
from prefjax.elicit.acquisition import get_rule as get_rule
from prefjax.elicit.acquisition import score as score
from prefjax.elicit.loop import ElicitConfig as ElicitConfig
from prefjax.elicit.loop import ElicitPath as ElicitPath
from prefjax.elicit.loop import elicit as elicit
from prefjax.elicit.loop import make_recorded as make_recorded
from prefjax.elicit.loop import make_simulated as make_simulated
from prefjax.elicit.pool import PairPool as PairPool
from prefjax.elicit.pool import Pool as Pool
from prefjax.elicit.pool import Question as Question
from prefjax.elicit.pool import ResponsePool as ResponsePool
from prefjax.elicit.pool import gap_at as gap_at
from prefjax.elicit.pool import select as select
from prefjax.elicit.pool import select_batch as select_batch
from prefjax.elicit.pool import split_index as split_index
from prefjax.elicit.session import Asked as Asked
from prefjax.elicit.session import Session as Session

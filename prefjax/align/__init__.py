"""Acting on a reward: responses that one person prefers, and judges that say whether they do.

best_of_n     the best of N responses for many people at once; KL bound, regret, curves in N
heads         value and advantage heads over the states and tokens of a language model
temporal      their training by temporal differences on samples that were scored once
training      all of it, from a language model and a score of texts
samples       what heads are trained on
trajectories  drawing samples, and reading the states of a model over them
decode        value-augmented decoding, each row of a batch for its own person
blockwise     the best of K continuations, block after block
kl_search     the β that gives a wanted KL
sampling      N responses to each prompt, from a model of this package or from any server
robust        answers for several directions near a person's
question      the two responses whose comparison says most about a person
judges        who wins: servers, language models, simulated judges
"""

from prefjax.align import judges, robust
from prefjax.align._best_of_n import (
    BestOfNConfig,
    BestOfNResult,
    best_of_n,
    best_of_n_checked,
    kl_bound,
    over_optimization,
    regret,
)
from prefjax.align.blockwise import decode_blockwise
from prefjax.align.decode import Steered, decode_advantage, decode_value
from prefjax.align.heads import project_tokens
from prefjax.align.kl_search import BetaResult, find_beta
from prefjax.align.question import QuestionPair, question_pair, steering_weights
from prefjax.align.samples import DecodeConfig, Prompts, draw, pad_prompts, states_after
from prefjax.align.sampling import (
    Ask,
    ModelSampler,
    Sample,
    SampleConfig,
    Sampler,
    Samples,
    sample,
)
from prefjax.align.server_sampling import OpenAISampler
from prefjax.align.temporal import TrainConfig
from prefjax.align.text_blockwise import sample_blockwise
from prefjax.align.training import HeadsResult, fit_heads, train_heads
from prefjax.align.trajectories import (
    Responses,
    Trajectories,
    collect_trajectories,
    decode_texts,
    draw_responses,
    encode_prompts,
    read_trajectories,
)

__all__ = [
    "Ask",
    "BestOfNConfig",
    "BestOfNResult",
    "BetaResult",
    "DecodeConfig",
    "HeadsResult",
    "ModelSampler",
    "OpenAISampler",
    "Prompts",
    "QuestionPair",
    "Responses",
    "Sample",
    "SampleConfig",
    "Sampler",
    "Samples",
    "Steered",
    "TrainConfig",
    "Trajectories",
    "best_of_n",
    "best_of_n_checked",
    "collect_trajectories",
    "decode_advantage",
    "decode_blockwise",
    "decode_texts",
    "decode_value",
    "draw",
    "draw_responses",
    "encode_prompts",
    "find_beta",
    "fit_heads",
    "judges",
    "kl_bound",
    "over_optimization",
    "pad_prompts",
    "project_tokens",
    "question_pair",
    "read_trajectories",
    "regret",
    "robust",
    "sample",
    "sample_blockwise",
    "states_after",
    "steering_weights",
    "train_heads",
]

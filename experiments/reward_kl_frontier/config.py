"""What the frontier of reward and KL is measured on."""

from dataclasses import dataclass, field
from pathlib import Path

from prefjax.align import TrainConfig
from prefjax.lab.simulation import BRIEF, SimulationConfig


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        simulation: People, prompts and fits.
        model: Name (``smollm2``), folder or GGUF file of the language model.
        system: What the system turn says; None leaves it out.
        own: People compare the model's own responses to the seen prompts, not written ones.
        seed: Seed of world, samples and training.
        num_people: New people who are served.
        num_prompts: New prompts that are answered.
        num_answers: Answers from which a person is known.
        num_samples: Samples of each new prompt, the largest N.
        train_prompts: Seen prompts on which the heads are trained.
        train_samples: Samples of each of them.
        train: Training of the heads.
        max_new_tokens: Most tokens of a response.
        num_candidates: k of decoding.
        layer: Layer whose states the heads read; None for the last state.
        betas: Strengths, per standard deviation of a person's reward.
        block_lengths: Lengths of blocks.
        text_blocks: Blocks of a response, each chosen by the score of the text so far instead of a
            head; 0 leaves that out.
        equal_to: N of the best-of-N at whose KL the heads are compared.
        search_steps: Strengths tried for that at most.
        kept: Folder in which samples and responses are kept, so that a run that was stopped or is
            repeated draws nothing twice; None keeps nothing.
    """

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    model: str = "offline-lm"
    system: str | None = None
    own: bool = False
    seed: int = 0
    num_people: int = 8
    num_prompts: int = 12
    num_answers: int = 10
    num_samples: int = 32
    train_prompts: int = 79
    train_samples: int = 12
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            num_steps=800, learning_rate=3e-3, weight_decay=20.0, width=128, rank=16
        )
    )
    max_new_tokens: int = 240
    num_candidates: int = 10
    layer: int | None = None
    betas: tuple[float, ...] = (0.5, 1.0, 2.0)
    block_lengths: tuple[int, ...] = (8, 40, 80)
    text_blocks: int = 3
    equal_to: int = 16
    search_steps: int = 8
    kept: Path | None = None


PRESETS = {
    "smoke": Config(
        num_people=2, num_prompts=2, num_samples=8, train_prompts=6, train_samples=8,
        train=TrainConfig(num_steps=50), max_new_tokens=96, betas=(0.5, 2.0),
        block_lengths=(8, 48), text_blocks=2, equal_to=8, search_steps=2,
    ),
    "paper": Config(),
    "smollm2": Config(
        model="smollm2", system=BRIEF, own=True, num_prompts=8, train_prompts=48,
        train=TrainConfig(
            num_steps=400, learning_rate=3e-3, weight_decay=20.0, width=128, rank=16
        ),
        max_new_tokens=60, num_candidates=4, layer=18, betas=(), block_lengths=(20,),
        search_steps=4, kept=Path("runs/reward_kl_frontier/smollm2-kept"),
    ),
}  # fmt: skip

"""Where a run is and how its loss went: when to stop, what to say, and what is an error.

The training loss is that of whole epochs, joined until they make `MIN_STEPS` steps: with little
data an epoch is a few steps, too short to tell whether anything is gained.
"""

import dataclasses
import math
from collections.abc import Sequence

MIN_STEPS = 32
"""Steps at least between two losses that are compared."""

DIVERGED = 10.0
"""A loss so many times that of guessing, or of the first step if it is higher, has diverged."""

RISEN = 0.02
"""A training loss that ends so much above its least, in nats per comparison, has risen."""

FALLING = 10
"""A training loss that gained so many times what counts as a gain was still falling."""

GUESSING = math.log(2)
"""Loss of a comparison, in nats, without any information: −log ½."""


@dataclasses.dataclass
class Progress:
    """Position of a run on the host and its losses; saved beside the state.

    Attributes:
        clock: Steps taken over all epochs; the number of a checkpoint.
        epoch: Finished passes over the data, as in the state.
        t: Steps of the running epoch, as in the state.
        best_nll: Least validation loss seen, in nats per comparison.
        best_clock: Step of that loss; 0 for none.
        gained_nll: Validation loss of the last evaluation that counted as a gain.
        num_worse: Evaluations since that one.
        evaluated_at: Step of the last evaluation.
        first_loss: Training loss of the first step, in nats per comparison.
        loss_sum: Weighted sum of the losses of epochs that are not in ``losses`` yet.
        loss_weight: Sum of the weights of those.
        loss_steps: Number of steps in those.
        losses: Training losses of epochs in their order, in nats per comparison.
    """

    clock: int = 0
    epoch: int = 0
    t: int = 0
    best_nll: float | None = None
    best_clock: int = 0
    gained_nll: float | None = None
    num_worse: int = 0
    evaluated_at: int = 0
    first_loss: float | None = None
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    loss_steps: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)

    def add_losses(self, losses: Sequence[float], weights: Sequence[float]) -> None:
        """Adds the losses of steps to the running epoch.

        Args:
            losses: Loss of each step, in nats per comparison; finite.
            weights: Weight of the comparisons of each step.
        """
        for loss, weight in zip(losses, weights, strict=True):
            if self.first_loss is None and weight > 0:
                self.first_loss = float(loss)
            self.loss_sum += float(loss) * float(weight)
            self.loss_weight += float(weight)
        self.loss_steps += len(losses)

    def end_epoch(self) -> None:
        """Closes an epoch: its loss joins the others if it has enough steps."""
        self.epoch, self.t = self.epoch + 1, 0
        if self.loss_steps >= MIN_STEPS and self.loss_weight > 0:
            self.losses.append(self.loss_sum / self.loss_weight)
            self.loss_sum, self.loss_weight, self.loss_steps = 0.0, 0.0, 0

    def add_evaluation(self, nll: float, min_gain: float) -> bool:
        """Notes a validation loss; returns whether it is the best so far."""
        self.evaluated_at = self.clock
        best = math.inf if self.best_nll is None else self.best_nll
        before = best if self.gained_nll is None else self.gained_nll
        if nll < before - min_gain:
            self.gained_nll, self.num_worse = nll, 0
        else:
            self.num_worse += 1
        if nll < best:
            self.best_nll, self.best_clock = nll, self.clock
        return nll < best

    def is_divergent(self, loss: float) -> bool:
        """Whether a training loss, in nats per comparison, is far above that of guessing."""
        return loss > DIVERGED * max(GUESSING, self.first_loss or 0.0)

    def trend(self, min_gain: float, *, finished: bool, validated: bool) -> str:
        """Says in a sentence what is wrong with the end of a run; empty if nothing is.

        Args:
            min_gain: What counts as a gain, in nats per comparison.
            finished: Whether the run ended because its epochs were over.
            validated: Whether there were validation comparisons.
        """
        losses = self.losses
        if self.loss_weight > 0:
            losses = [*losses, self.loss_sum / self.loss_weight]
        start = GUESSING if self.first_loss is None else self.first_loss
        before, last = min([start, *losses[:-1]]), losses[-1]
        if last > before + RISEN:
            return (
                f"The training loss rose from {before:.4f} to {last:.4f} nats a comparison: lower "
                "optimizer.learning_rate or step.user_rate."
            )
        if finished and validated and self.num_worse == 0:
            return (
                f"The validation loss was still falling at the end ({self.best_nll:.4f} nats a "
                "comparison at the last evaluation): raise num_epochs or optimizer.learning_rate."
            )
        if finished and not validated and before - last > FALLING * min_gain:
            return (
                f"The training loss was still falling at the end, from {before:.4f} to {last:.4f} "
                "nats a comparison: raise num_epochs or optimizer.learning_rate."
            )
        return ""


def count_flat(losses: Sequence[float], min_gain: float) -> int:
    """Counts the losses at the end of a sequence that gain nothing on the best before them.

    >>> count_flat([0.69, 0.60, 0.6, 0.61], min_gain=1e-4)
    2
    """
    best, count = math.inf, 0
    for loss in losses:
        gained = loss < best - min_gain
        best, count = (loss, 0) if gained else (best, count + 1)
    return count

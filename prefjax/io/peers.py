"""What the processes of a run decide together about its folder."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def all_agree(yes: bool) -> bool:
    """Whether the answer is yes on every process."""
    if jax.process_count() == 1:
        return yes
    return bool(np.all(multihost_utils.process_allgather(np.asarray(yes))))


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)

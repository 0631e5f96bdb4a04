"""How long a message pauses before it is delivered again."""

import random
from collections.abc import Callable

Pause = Callable[[int], float]

FIRST_PAUSE = 0.05
MAX_PAUSE = 10.0
_DOUBLINGS = 8  # beyond that the pause is at its maximum anyway


def jittered_pause(deliveries: int) -> float:
    """Give the pause after so many deliveries, in seconds: it doubles from 0.05 to 10, less up to half by chance."""
    ceiling = min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** min(deliveries - 1, _DOUBLINGS))
    return ceiling * random.SystemRandom().uniform(0.5, 1.0)

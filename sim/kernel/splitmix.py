"""SplitMix64: random numbers of which any one can be asked for without those before it.

Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Only numpy is
needed here; the kernel compiles it.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def bits_at(start: Any, place: Any) -> Any:
    """The 64 bits at `place` of the stream that begins at `start`; published streams begin at 1.

    `start` is one unsigned number of 64 bits or an array of them, `place` whole numbers.
    """
    word = start + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))

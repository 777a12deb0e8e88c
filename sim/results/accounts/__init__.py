"""Accounts: what a run came to, feature by feature.

An account is a function of what was prepared and what happened. It returns a block with its key in
JSON, its values and what is printed of them; None where the scenario hasn't got the feature. A new
account is one file and one place in a table here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.results.accounts.breakdown import bound, breakdown
from sim.results.accounts.cost import cost
from sim.results.accounts.expert_ranks import expert_ranks
from sim.results.accounts.fleet import fleet
from sim.results.accounts.memory import mapping, memory
from sim.results.accounts.offload import prefix_cache, swap
from sim.results.accounts.priorities import priorities
from sim.results.accounts.samples import samples
from sim.results.accounts.sides import sides
from sim.results.accounts.speculation import speculation
from sim.results.accounts.tenants import tenants
from sim.results.blocks import Block
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Account = Callable[[Prepared, Outcomes], Block | None]

OF_SERVICE: Final[tuple[Account, ...]] = (
    priorities, tenants, samples, cost, speculation, fleet,
)  # fmt: skip
"""What requests and tokens got, and for what."""
OF_HARDWARE: Final[tuple[Account, ...]] = (
    breakdown, bound, memory, prefix_cache, swap, expert_ranks, sides, mapping,
)  # fmt: skip
"""What devices did; printed after which unit ran what."""

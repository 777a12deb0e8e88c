"""Cost: dollars and carbon per million tokens generated under the traffic of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sim.config.costs import costs_of, usual_costing
from sim.economics.lines import Ledger
from sim.economics.per_token import Owned, Served, owned
from sim.errors import ConfigError, Infeasible
from sim.hardware import System
from sim.results.accounts.sides import joules_by_side
from sim.results.blocks import Block
from sim.results.statistics import rate
from sim.scenario import Costing
from sim.simulation.outcomes import Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared

Floats = npt.NDArray[np.float64]
ENDS = ("low", "base", "high")


def cost(prepared: Prepared, outcomes: Outcomes) -> Block:
    """USD and kgCO2e per million generated tokens, each low, base and high, and whose price."""
    ownership = owned_of(prepared, outcomes)
    known, unknown = (None, ownership) if isinstance(ownership, str) else (ownership, None)
    values = {
        "usd_per_Mtok": None if known is None else _by_end(known.USD_per_Mtok),
        "kgCO2e_per_Mtok": None if known is None else _by_end(known.kg_per_Mtok),
        "basis": None if known is None else known.ledger.basis,
        "unknown": unknown,
    }
    lines = () if unknown is None else (f"Cost unknown: {unknown}",)
    return Block(name="cost", values=values, lines=lines)


def _by_end(bounds: Floats | None) -> dict[str, float] | None:
    return None if bounds is None else dict(zip(ENDS, map(float, bounds), strict=True))


def owned_of(prepared: Prepared, outcomes: Outcomes) -> Owned | str:
    """What a million tokens cost and emit, with the ledger; why not where that is not known."""
    scenario, window = prepared.scenario, outcomes.served.window
    costing = scenario.cost or usual_costing()
    tok_per_s = rate(window.generated_tokens, outcomes.window_s)
    if outcomes.fleet is not None or scenario.split is not None:
        return _owned_together(outcomes, costing, tok_per_s)
    return owned_under(scenario.system, costing, tok_per_s, outcomes.power_W)


def owned_under(
    system: System, costing: Costing, tok_per_s: float | None, power_W: float | None
) -> Owned | str:
    """As `owned`; why not, where a rate, the power, or the cost of the die are not known."""
    if not tok_per_s or power_W is None:
        return "no tokens or no power to share them over"
    try:
        costs = costs_of(system, costing.site, costing.practice, costing.basis)
        return owned(system, Served(tok_per_s=tok_per_s, power_W=power_W), costs)
    except Infeasible as error:
        return error.reason
    except ConfigError as error:
        return "; ".join(str(problem) for problem in error.problems)


def _owned_together(outcomes: Outcomes, costing: Costing, tok_per_s: float | None) -> Owned | str:
    """What tokens cost that all groups generate together; why not where not known.

    Each system is owned by itself, at its own power, and all costs are shared by all tokens. Of
    systems that come and go the mean number is paid: others have the use of the rest.
    """
    shares = [share for group in outcomes.groups for share in _shares(group, outcomes.window_s)]
    ownerships: list[tuple[float, Owned]] = []
    for system, systems, power_W in shares:
        ownership = owned_under(
            system,
            costing,
            None if tok_per_s is None else tok_per_s / systems,
            None if math.isnan(power_W) else power_W / systems,
        )
        if isinstance(ownership, str):
            return ownership
        ownerships.append((systems, ownership))
    # the rate is that of all: what each of a group's systems costs a token adds up to the group's
    return Owned(
        USD_per_Mtok=_sum([each.USD_per_Mtok for _, each in ownerships]),
        kg_per_Mtok=_sum([each.kg_per_Mtok for _, each in ownerships]),
        ledger=_ledger_of_all(ownerships, outcomes.title),
    )


def _shares(group: ReplicaGroup, window_s: float) -> list[tuple[System, float, float]]:
    """Systems of a group, how many of each, and the watts of all of a kind; two sides are two."""
    split = group.prepared.program.split
    if split is None:
        return [(group.system, group.paid, _watts(group.static_W, group.operator_joules, window_s))]
    attention = group.prepared.scenario.pools[0].system
    joules, expert_joules = joules_by_side(group.joules, group.system, split)
    joules += sum(replica.copies.joules for replica in group.outcomes)  # caches lie there
    shares = []
    for system, spent_J in ((attention, joules), (split.system, expert_joules)):
        static_W = system.device.static_W
        power_W = math.nan
        if static_W is not None:
            power_W = _watts(static_W * system.count * group.paid, spent_J, window_s)
        shares.append((system, group.paid, power_W))
    return shares


def _watts(static_W: float, joules: float, seconds: float) -> float:
    return static_W + joules / seconds if seconds > 0.0 else math.nan


def _sum(bounds: Sequence[Floats | None]) -> Floats | None:
    known = [each for each in bounds if each is not None]
    return np.asarray(sum(known)) if len(known) == len(bounds) else None


def _ledger_of_all(ownerships: Sequence[tuple[float, Owned]], title: str) -> Ledger:
    """Lines of one system of each group, and totals of all systems."""
    ledgers = [(systems, each.ledger) for systems, each in ownerships]
    totals: dict[str, Floats | None] = {}
    for name in ledgers[0][1].totals:
        amounts = [(systems, ledger.totals[name]) for systems, ledger in ledgers]
        totals[name] = _sum([None if one is None else count * one for count, one in amounts])
    return Ledger(
        system=title,
        basis=" and ".join(dict.fromkeys(ledger.basis for _, ledger in ledgers)),
        lines=tuple(line for _, ledger in ledgers for line in ledger.lines),
        totals=totals,
    )

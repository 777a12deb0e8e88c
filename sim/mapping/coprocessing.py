"""Co-processing: two units of a device work at the same time, on different banks of its memory.

Duplex (arXiv 2409.01141), sections V-B and V-C. Experts lie in memory spaces (one a bank bundle);
in each layer a policy gives each space to the host or to the unit in memory. Prompts attend on the
host while the sequences that decode attend in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Infeasible, Problem
from sim.graph import Graph, Kind, Op
from sim.hardware import Processor, System
from sim.kernel.records import EXACT, GIVEN, GREEDY, SPACES
from sim.mapping.layout import Layout
from sim.mapping.parallelism import collective_after

if TYPE_CHECKING:
    from sim.graph import OpTable

Floats = npt.NDArray[np.float64]

GIVEN_TOKENS: Final[Floats] = np.unique(
    np.concatenate([np.arange(257.0), np.round(256.0 * 1.05 ** np.arange(1, 80))])
)
"""Batch sizes a user's policy is asked for; larger ones are split as the last."""
POLICIES: Final = {"greedy": GREEDY, "exact": EXACT}


def pair_of(system: System) -> tuple[Processor, Processor]:
    """The host and the unit in memory that share the experts of a device.

    Infeasible where there are no two, or where the unit in memory leaves the host no bank.
    """
    able = [each for each in system.device.processors if runs(each, "experts")]
    where = f"{system.name}: coprocessing {system.coprocessing}"
    if len(able) < 2:
        raise Infeasible(
            f"{where} needs two processors that run experts; {system.device.title} has "
            f"{', '.join(each.name for each in able) or 'none'}",
            processors=len(able),
        )
    host, near = able[0], able[1]
    if near.bundles < 2:
        raise Infeasible(
            f"{where}: {near.name} reads all banks at once and leaves none to {host.name}; "
            "a level that reads fewer banks has bundles",
            bundles=near.bundles,
        )
    return host, near


def runs(processor: Processor, operator_class: str) -> bool:
    """Whether `processor` runs operators of that class."""
    return not processor.operators or operator_class in processor.operators


def memory_spaces(system: System) -> int:
    """Memory spaces experts are dealt to: one a bank bundle of the unit in memory."""
    return min(pair_of(system)[1].bundles, SPACES)


def policy_of(system: System) -> int:
    """The kernel's number of how experts are split."""
    return GIVEN if callable(system.split) else POLICIES[system.split]


def coprocess(graph: Graph, layout: Layout, system: System) -> Graph:
    """`graph`, as one device runs it, with products of experts shared by two units.

    "pe+et" splits every expert over the tensor-parallel group and, as the released simulator does,
    charges one more all-reduce of a hidden state a token for it.
    """
    host, near = pair_of(system)
    if system.coprocessing == "pe+et" and layout.ep != layout.attention_dp:
        message = f"pe+et splits every expert over tp devices: write ep: {layout.attention_dp}"
        raise ConfigError([Problem(path="parallel.ep", message=message)])

    def rule(op: Op) -> tuple[Op, ...]:
        if op.kind == Kind.EXPERTS:
            return tuple(_shared(op, host, near, layout, system))
        if op.kind == Kind.ATTENTION:
            name = op.name.removesuffix("_prefill").removesuffix("_decode")
            return (replace(op, concurrent=f"{name} {op.layer_indices}"),)
        return (op,)

    return graph.rewrite(rule)


def _shared(
    op: Op, host: Processor, near: Processor, layout: Layout, system: System
) -> Iterator[Op]:
    """The product once for each unit, and the reduction of split experts."""
    label = f"experts {op.layer_indices}"
    yield replace(op, name=f"{op.name}.{host.name}", processor=host.name, concurrent=label)
    yield replace(
        op, name=f"{op.name}.{near.name}", processor=near.name, concurrent=label, owned=False
    )
    if system.coprocessing == "pe+et" and op.shard == "row" and layout.tp > 1:
        yield collective_after(
            op,
            f"{op.name}.all-reduce",
            "all-reduce",
            op.outputs * layout.ep / op.top_k,
            layout.tp,
        )


def given_masks(
    table: OpTable, loads: Floats, units: npt.NDArray[np.void], system: System
) -> tuple[npt.NDArray[np.int64], Floats]:
    """What a user's policy decides for every drawn batch: bits [rows, draws, ranks], and tokens.

    `tokens` [rows] are the batch sizes the policy was asked for; others take the nearest.
    """
    from sim.kernel.splitting import spaces_of_batches

    policy = system.split
    assert callable(policy)
    leader = next(
        (index for index, op in enumerate(table.graph.ops) if op.kind == Kind.EXPERTS), None
    )
    if leader is None:
        return np.zeros((0, 0, 0), np.int64), np.zeros(0)
    spaces = int(table.records["spaces"][leader])
    masks = []
    for tokens in GIVEN_TOKENS:
        own, times = spaces_of_batches(table.records, leader, tokens, loads, units)
        draws, ranks = own.shape[:2]
        seconds = times.reshape(-1, 2, spaces)
        chosen = np.asarray(policy(own.reshape(-1, *own.shape[2:]), seconds[:, 0], seconds[:, 1]))
        if chosen.shape != seconds[:, 0].shape or chosen.dtype != bool:
            raise ConfigError(
                f"system.split: booleans of shape {seconds[:, 0].shape} are due, not "
                f"{chosen.dtype} of shape {chosen.shape}"
            )
        masks.append((chosen << np.arange(spaces)).sum(axis=1).reshape(draws, ranks))
    return np.asarray(masks, np.int64), GIVEN_TOKENS

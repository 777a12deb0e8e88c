"""Transfer: what of a prompt goes from a replica that prefilled it to one that decodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim.dtypes import Precision, bytes_per_element
from sim.graph import Graph, Phase
from sim.kernel.records import POLICY
from sim.kernel.sequences import kv_bytes
from sim.mapping.program import stream_records

Floats = npt.NDArray[np.float64]


def cache_bytes(graph: Graph, precision: Precision, prompts: npt.NDArray[np.int64]) -> Floats:
    """Bytes that prompts of so many tokens leave in memory, of the whole model, each once.

    Keys and values of each stream (windows hold no more than they keep) and states of layers that
    have one. No blocks: what is sent are the tokens. Shape as `prompts`.
    """
    streams = stream_records(graph, bytes_per_element(precision.kv))
    policy = np.zeros(1, POLICY)
    policy["kv_block"] = 1
    policy["state_B"] = bytes_per_element(precision.activations) * sum(
        op.state * op.layers for op in graph.ops if op.phase == Phase.DECODE
    )
    lengths, which = np.unique(prompts, return_inverse=True)
    sizes = np.array([kv_bytes(streams, policy[0], int(tokens), int(tokens)) for tokens in lengths])
    return np.asarray(sizes[which], np.float64)

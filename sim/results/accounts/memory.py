"""Memory of a device under a run, and how the model lies on devices."""

from __future__ import annotations

from sim.results.blocks import Block
from sim.results.quantity import binary
from sim.results.statistics import finite
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared


def memory(prepared: Prepared, outcomes: Outcomes) -> Block:
    """Bytes of one device: weights, activations, KV capacity and peak, all it may use.

    Of pools with different devices, of the one that stands for the scenario.
    """
    budget = prepared.budget
    kv_peak_B = max(replica.kv_peak_B for replica in outcomes.lead.outcomes)
    sizes = {
        "capacity_B": budget.usable_B,
        "weights_B": budget.weights_B,
        "activations_B": budget.activations_B,
        "kv_capacity_B": budget.kv_B,
        "kv_peak_B": kv_peak_B,
    }
    device = "one device" if prepared.scenario.split is None else "one device of each side"
    return Block(
        name="memory",
        values={name: finite(size_B) for name, size_B in sizes.items()},
        lines=(
            f"Memory of {device}: weights {binary(budget.weights_B)}, KV cache "
            f"{binary(kv_peak_B)} at its peak of {binary(budget.kv_B)} free, of "
            f"{binary(budget.usable_B)} usable",
        ),
    )


def mapping(prepared: Prepared, outcomes: Outcomes) -> Block:
    """Degrees of parallelism of a replica, the number of replicas and of iterations."""
    layout = prepared.program.layout
    values = {
        "tp": layout.tp,
        "pp": layout.pp,
        "ep": layout.ep,
        "dp": layout.dp if outcomes.fleet is None else len(outcomes.replicas),
        "attention_dp": layout.attention_dp,
        "iterations": outcomes.iterations,
    }
    return Block(name="mapping", values=values)

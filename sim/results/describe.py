"""Describe: what a model comes to before any hardware."""

from __future__ import annotations

from typing import Any

from sim.dtypes import Precision
from sim.workload.architecture import Architecture
from sim.workload.layers import build_graph


def default_precision(model: Architecture) -> Precision:
    """Formats a model runs in where a scenario says nothing: its weights as published."""
    return Precision(
        weights=model.weights_dtype,
        kv="fp16",
        activations="fp16",
        experts=model.quantised_experts_dtype,
    )


def describe_model(model: Architecture, precision: Precision) -> dict[str, Any]:
    """Parameters, bytes of weights, KV cache and state of `model` in these formats.

    `kv_bytes_per_token` is the growth per new token before windows cut it;
    `cross_kv_bytes_per_input_token` is what an encoder-decoder adds per token of its input.
    """
    graph = build_graph(model)
    return {
        "name": model.name,
        "title": model.title,
        "parameters": graph.parameters,
        "active_parameters_per_token": graph.active_parameters_per_token,
        "weight_bytes": graph.weight_bytes(precision.weights, precision.experts),
        "kv_bytes_per_token": graph.kv_bytes_per_token(precision.kv),
        "state_bytes_per_sequence": graph.state_bytes_per_sequence(
            precision.kv, activations=precision.activations
        ),
        "cross_kv_bytes_per_input_token": graph.cross_kv_bytes_per_input_token(precision.kv),
        "layers": graph.layers,
        "hidden": graph.hidden,
        "vocabulary": model.vocabulary,
        "max_context": model.max_context,
        "dtype": {
            "weights": precision.weights,
            "kv": str(precision.kv),
            "activations": precision.activations,
            "experts": precision.experts,
        },
        "source": model.source,
    }

"""Form of number formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sim.dtypes import BITS, Grouped, Precision
from sim.quantities import one_of
from sim.workload.architecture import Architecture

DType = Annotated[str, one_of(*BITS)]


@dataclass(frozen=True, kw_only=True)
class DTypeForm:
    """Number formats of a run."""

    weights: DType | None = None
    """Format of weights; as the model is published if left out."""
    kv: DType | Grouped | None = None
    """Format of keys and values, or codes in groups; fp16 if left out."""
    activations: DType | None = None
    """Format of activations; fp16 if left out."""
    experts: DType | None = None
    """Format of routed experts where it differs."""

    def precision(self, model: Architecture) -> Precision:
        """The formats; weights left out are as `model` is published."""
        experts = self.experts
        if self.weights is None and experts is None:
            experts = model.quantised_experts_dtype
        return Precision(
            weights=self.weights or model.weights_dtype,
            kv=self.kv or "fp16",
            activations=self.activations or "fp16",
            experts=experts,
        )

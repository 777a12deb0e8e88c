"""Layer graphs: the operators one pass of a model runs, and OpTable, the same as arrays.

`Op` objects are for people and for rewriting; lowering to `OpTable` goes one way. Identical layers
are one operator with a repeat count. What an operator costs is linear in a few features of the
batch its `Stream` sees (tokens, query-key pairs, cached tokens, sequences); the one thing that is
not, how many distinct experts a batch touches, is a feature of its own.
"""

from sim.graph.graph import Graph
from sim.graph.lowering import OpTable, collective_terms, lower
from sim.graph.operator import (
    CAUSAL,
    COLLECTIVES,
    Collective,
    Kind,
    Op,
    Phase,
    Shard,
    Side,
    Stream,
    breakdown_class,
    weight_dtype,
)
from sim.graph.verify import STORED, TOTALS, Unsound, verify, verify_pass

__all__ = [
    "CAUSAL",
    "COLLECTIVES",
    "STORED",
    "TOTALS",
    "Collective",
    "Graph",
    "Kind",
    "Op",
    "OpTable",
    "Phase",
    "Shard",
    "Side",
    "Stream",
    "Unsound",
    "breakdown_class",
    "collective_terms",
    "lower",
    "verify",
    "verify_pass",
    "weight_dtype",
]

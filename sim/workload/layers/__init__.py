"""From a model architecture to its layer graph.

Matrix products count 2 flops per weight and token. Attention counts 2 flops per query head,
dimension and query-key pair for the scores and as many for the values, plus softmax (scale, max,
subtract, exponential, sum, divide: 5 flops a score). Prefill attention is fused: scores never
reach memory (FlashAttention, arXiv 2205.14135).

Not counted, each far below 1 % of a layer: rotary positions, norms of queries and keys (taken as
fused into the projection), the router's softmax. Scans of state spaces run on vector units, prompts
too, where Mamba-2 could use matrix units. What one token keeps of Whisper's first convolution
counts once, though that runs at twice the token rate.
"""

from sim.workload.layers.model import build_graph

__all__ = ["build_graph"]

"""Classes of operator: the words that hardware (what runs where) and graphs (what it is) share."""

from __future__ import annotations

from typing import Final

OPERATOR_CLASSES: Final[tuple[str, ...]] = (
    "embedding",
    "norm",
    "fc",
    "attention-prefill",
    "attention-decode",
    "experts",
    "ssm",
    "lm-head",
)
"""What a processor can be said to run; collectives ("communication") run on links."""

COMMUNICATION: Final = "communication"

"""Papers, and collections of figures, that can be recomputed, by name; one module each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from sim.errors import ConfigError, Problem
from sim.evidence.reproduction import Reproduction

PAPERS: Final = {
    "duplex": "Yun et al., Duplex: mixture of experts on xPU and Logic-PIM, MICRO 2024",
    "hnlpu": "Liu et al., Hardwired-Neuron Language Processing Units, ASPLOS 2026",
    "layered-prefill": "Layered Prefill: experts loaded once a prompt, MLSys 2026",
    "public_chips": "Published estimates of what public chips cost and embody, beside the ledger's",
}
Progress = Callable[[str], None]


def reproduce(
    paper: str,
    *,
    figures: bool = False,
    rounding: bool = True,
    on_progress: Progress | None = None,
) -> Reproduction:
    """Every printed result of `paper`, recomputed; ConfigError for a name that is no paper.

    `figures` adds tables of what the paper draws without printing numbers; without `rounding`
    intermediate results are not rounded where the paper rounds them.
    """
    if paper not in PAPERS:
        near = get_close_matches(paper, PAPERS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            [Problem(message=f"no paper '{paper}'; {hint}known: {', '.join(PAPERS)}")]
        )
    module = importlib.import_module(f"sim.evidence.papers.{paper.replace('-', '_')}")
    result: Reproduction = module.reproduce(
        on_progress or (lambda _: None), figures=figures, rounding=rounding
    )
    return result

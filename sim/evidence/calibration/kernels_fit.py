"""Kernels fitted: constants of matrix products, attention and element-wise operators by family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.evidence.calibration.fit import fitted
from sim.evidence.measured import attention, gemm, layers
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format
from sim.evidence.measured.tables import Table, read_table, stem, table_paths
from sim.hardware.kernels import Kernels

Floats = npt.NDArray[np.float64]
Bounds = Mapping[str, tuple[float, float]]
MOST_ROWS: Final = 3000
"""Rows of a table that a fit looks at, evenly spread."""
PRODUCTS: Final = (
    "gemm", "attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "qkv_proj", "q_proj",
    "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj", "lm_head",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """Constants of one section that are fitted together, and the rows they are fitted on."""

    section: str
    bounds: Bounds
    wanted: Callable[[pd.DataFrame], pd.Series]
    otherwise: Callable[[pd.DataFrame], pd.Series] | None = None
    """Rows to fall back on in a family that has none of those wanted."""


def _sixteen(rows: pd.DataFrame) -> pd.Series:
    return rows["phase"].isin(PRODUCTS) & rows["dtype"].isin(["bfloat16", "bf16", "fp16"])


def _blocks(rows: pd.DataFrame) -> pd.Series:
    return (rows["phase"] == "gemm") & (rows["dtype"] == "fp8_block")


def _narrow(rows: pd.DataFrame) -> pd.Series:
    wide = rows["dtype"].isin(["bfloat16", "bf16", "fp16"])
    return (rows["phase"] == "gemm") & ~wide & ~_blocks(rows)


def _fused(rows: pd.DataFrame) -> pd.Series:
    """Element-wise operators one by one, as a server's kernels fuse them (not PyTorch's)."""
    own = ("layernorm", "rotary_emb", "act_fn") if (rows["phase"] == "rotary_emb").any() else ()
    return rows["phase"].isin(own)


NARROW: Final[Bounds] = {
    "narrow_s": (0.0, 3e-5), "narrow_passes": (0.0, 2e1), "narrow_rate": (0.3, 1.5),
}  # fmt: skip


PARTS: Final = (
    Part(
        section="matmul",
        bounds={
            "fixed_s": (0.0, 3e-5), "depth_s": (0.0, 2e-8), "depth": (1.0, 1e4),
            "memory": (0.4, 1.0), "operands": (0.0, 1.5), "wave": (0.0, 1.0), "split": (0.0, 5e3),
            "prologue": (0.0, 2e3), "exposed": (0.0, 1.0), "small": (0.2, 1.0),
            "large": (0.2, 1.0), "vector_depth": (0.0, 1.0),
        },
        wanted=_sixteen,
    ),
    Part(
        section="matmul",
        bounds=NARROW,
        wanted=_narrow,
    ),
    Part(section="blocks", bounds=NARROW, wanted=_blocks),
    Part(
        section="vector",
        bounds={"fixed_s": (0.0, 3e-5), "memory": (0.05, 1.0), "exposed": (0.0, 1.0)},
        wanted=lambda rows: rows["phase"] == "layer",
    ),
    Part(
        section="vector",
        bounds={
            "fixed_s": (0.0, 3e-5), "memory": (0.05, 1.0), "exposed": (0.0, 1.0),
            "cached": (0.05, 5.0), "resident": (0.0, 1.0),
        },
        wanted=_fused,
    ),
    Part(
        section="decode",
        bounds={
            "fixed_s": (0.0, 5e-5), "unit_s": (0.0, 3e-5), "alone": (1.0, 8.0),
            "packed": (0.3, 4.0), "packed_8": (0.3, 6.0), "per_dim": (0.0, 2.0),
            "per_rows": (0.0, 2.0), "chain_s": (0.0, 5e-7), "chain_alone": (0.0, 2.0),
            "chain_8": (0.0, 2.0), "hidden_tokens": (10.0, 5e3), "split_tokens": (10.0, 1e3),
            "exposed": (0.0, 1.0), "memory": (0.4, 1.0), "cache_B_per_s": (5e9, 2e11),
            "resident": (0.0, 2.0),
        },
        wanted=lambda rows: rows["phase"] == "decode",
    ),
    Part(
        section="decode",
        bounds={"latent": (0.05, 1.0)},
        wanted=lambda rows: rows["phase"] == "mla-decode",
    ),
    Part(
        section="prefill",
        bounds={
            "fixed_s": (0.0, 5e-5), "pad": (0.0, 5e2), "pad_8": (0.0, 6e2), "compute": (0.1, 1.0),
            "compute_8": (0.1, 1.0), "softmax": (0.0, 5e1), "passes": (0.2, 6.0),
            "token_s": (0.0, 3e-7), "exposed": (0.0, 1.0),
        },
        wanted=lambda rows: rows["phase"].isin(["prefill", "mixed"]),
        otherwise=lambda rows: rows["phase"] == "attn",
    ),
)  # fmt: skip
UNFIT: Final = ("llmservingsim/v0_attention_A6000_Llama-3.1-8B_tp1",)
"""Tables that cannot be of memory traffic: most rows are faster than the memory's bandwidth."""
Measured = tuple[Format, Table, pd.DataFrame]


def tables_of(folder: Path) -> list[Measured]:
    """Tables of operators in `folder`, each with its predictions as constants are now."""
    found: list[Measured] = []
    for path in table_paths(folder):
        name = f"{path.parent.name}/{stem(path)}"
        for form in (*gemm.FORMATS, *attention.FORMATS, *layers.FORMATS):
            if form.matches(name) and name not in UNFIT:
                table = read_table(path, form.columns)
                found.append((form, table, form.predict(table, Constants())))
    return found


def family_of(rows: pd.DataFrame) -> str | None:
    """Name of the kernels of the device that a table's rows are of."""
    device = Constants().device(str(rows["device"].iloc[0]))
    kernels = device.processors[0].kernels
    return kernels.name if kernels else None


def everywhere(kernels: Kernels) -> Constants:
    """Every device with these kernels."""
    return Constants(everywhere=kernels)


def fit(
    start: Kernels, tables: Sequence[Measured], keep: Callable[[pd.DataFrame], Floats],
    devices: Callable[[Kernels], Constants] = everywhere,
) -> Kernels:  # fmt: skip
    """`start` with every part fitted to the kept rows of `tables`, one part after the other.

    `keep` says of each row whether it may be seen, `devices` what kernels that are tried make of
    the tables' devices.
    """
    for part in PARTS:
        start = _fit_part(part, start, tables, keep, devices)
    return start


def _fit_part(
    part: Part, start: Kernels, tables: Sequence[Measured],
    keep: Callable[[pd.DataFrame], Floats], devices: Callable[[Kernels], Constants],
) -> Kernels:  # fmt: skip
    seen: list[tuple[Format, Table, npt.NDArray[np.int64], Floats, float]] = []
    choose = part.wanted
    if part.otherwise and not any(choose(rows).any() for _, _, rows in tables):
        choose = part.otherwise
    for form, table, rows in tables:
        wanted = choose(rows) & np.isfinite(rows["predicted"]) & (rows["measured"] > 0.0)
        index = np.flatnonzero(wanted & keep(rows).astype(bool))
        if len(index) == 0:
            continue
        picked = index[:: max(len(index) // MOST_ROWS, 1)]
        measured = rows["measured"].to_numpy(float)[picked]
        seen.append((form, table, picked, measured, (MOST_ROWS / len(picked)) ** 0.25))
    if not seen:
        return start
    section: Mapping[str, float] = getattr(start, part.section)
    if part.section == "blocks":  # from what products have where nothing is known of them
        section = {name: section.get(name, start.matmul[name]) for name in part.bounds}

    def predict(constants: Mapping[str, float]) -> Floats:
        tried = with_section(start, part.section, constants)
        known = devices(tried)
        return np.concatenate(
            [
                form.predict(table, known)["predicted"].to_numpy(float)[picked]
                for form, table, picked, _, _ in seen
            ]
        )

    best = fitted(
        section,
        part.bounds,
        predict,
        np.concatenate([measured for *_, measured, _ in seen]),
        np.concatenate([np.full(len(picked), weight) for _, _, picked, _, weight in seen]),
    )
    return with_section(start, part.section, best)


def with_section(kernels: Kernels, section: str, numbers: Mapping[str, float]) -> Kernels:
    """`kernels` with other numbers in one section."""
    changed: Any = {section: dict(numbers)}
    return replace(kernels, **changed)


def by_family(tables: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    """Tables of each family of kernels."""
    names = [family_of(rows) for _, _, rows in tables]
    for name in sorted({each for each in names if each}):
        yield name, [table for table, of in zip(tables, names, strict=True) if of == name]

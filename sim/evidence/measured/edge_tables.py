"""Edge tables: llama.cpp, Ollama, MLC, TensorRT and ExecuTorch on edge devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.engines.roofline import decode_batch
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Batches, Setting, Timing, case_rows, program_of, prompts
from sim.evidence.measured.formats import Format, Unsupported
from sim.evidence.measured.lookups import Row, rows_of
from sim.evidence.measured.spellings import load_named_model, spellings
from sim.evidence.measured.tables import Table
from sim.mapping.program import Program
from sim.workload.architecture import Architecture

MICRO_BATCH: Final = 512
"""Prompt tokens that llama.cpp processes at a time, unless told otherwise."""


def predict(form: Format, table: Table, constants: Constants) -> pd.DataFrame:
    """Tokens or images a second of an edge table."""
    return case_rows(cases_of(form, table), constants, better=form.better)


def cases_of(form: Format, table: Table) -> list[Timing]:
    """Cases of a table, made once: a fit predicts them again and again."""
    if "cases" not in table.built:
        programs = Programs(table.folder)
        rows = zip(rows_of(form, table), table.frame.to_dict("records"), strict=True)
        table.built["cases"] = [
            case
            for row, values in rows
            for measure in form.measures
            for case in _cases(form, _with(row, measure), values[measure["column"]], programs)
        ]
    cases: list[Timing] = table.built["cases"]
    return cases


def _with(row: Row, measure: Mapping[str, Any]) -> Row:
    """`row` with what a measure says, which may be the name of a column."""
    return Row(row | {name: row.get(value, value) for name, value in measure.items()})


class Programs:
    """Programs of models in settings, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[tuple[str, Setting], Program] = {}

    def __call__(self, model: str, setting: Setting) -> Program:
        """The program; Unsupported where there is none."""
        key = (model, setting)
        if key not in self.known:
            self.known[key] = program_of(model_of(model, self.folder), setting)
        return self.known[key]


def _cases(form: Format, row: Row, measured: Any, programs: Programs) -> Iterator[Timing]:
    """The case of one measure of a row, where it was measured.

    With a reason in place of a program where there is none.
    """
    if not np.isfinite(float(measured)) or (row["phases"] and row["phase"] not in row["phases"]):
        return
    phase, model = row.text(row["phase"]), str(row["model"])
    setting = Setting(
        device=row["device"], runtime=row["runtime"], dtype=row["dtype"],
        processor=row["processor"] or "gpu", stages=int(row["stages"] or 1),
        arithmetic=row["arithmetic"], repeats_kv=bool(row["repeats_kv"]),
        expands=bool(row["expands"]),
    )  # fmt: skip
    batches, produced = _work(row)
    program, reason = None, ""
    try:
        program = programs(model, setting)
    except Unsupported as error:
        reason = str(error)
    yield Timing(
        measured=float(measured), device=setting.device, phase=phase, dtype=setting.dtype,
        runtime=setting.runtime, fold=row.text(" ".join(f"{{{name}}}" for name in form.shape)),
        program=program, batches=batches, produced=produced, stages=setting.stages,
        pipelined=phase.startswith("prefill"), reason=reason,
        choice=f"{model}|{setting.dtype}|{phase}|{batches}",
    )  # fmt: skip


def _work(row: Row) -> tuple[Batches, int]:
    """Iterations of a measure and the tokens or images that they give."""

    def count(name: str, otherwise: int) -> int:
        return int(row[name] or otherwise)

    sequences, past = count("sequences", 1), count("past", 0)
    if "tokens" not in row:
        return ((decode_batch(sequences, past + count("new", 0) // 2), 1.0),), sequences
    if row["tokens"] == "patches":  # of an image
        tokens, _ = spellings("models")["vision"].get(row["model"], (1, 0))
        return tuple(prompts(tokens, tokens)), 1
    tokens = count("tokens", 0)
    steps = prompts(tokens, count("micro_batch", MICRO_BATCH), past, sequences)
    return tuple(steps), tokens * sequences


@cache
def model_of(text: str, folder: Path) -> Architecture:
    """The model that an edge table calls `text`; Unsupported for an unknown one."""
    vision = spellings("models")["vision"]
    if text not in vision:
        model = load_named_model(text, folder)
        if model is None:
            raise Unsupported(f"no model {text}")
        return model
    base = load_named_model("vit-base-patch16-224", folder)
    if base is None or base.encoder is None:
        raise Unsupported(f"no model {text}")
    tokens, side = vision[text]
    encoder = replace(base.encoder, tokens=tokens, patch_inputs=3 * side * side)
    return replace(base, name=text, encoder=encoder)

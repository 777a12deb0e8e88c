"""Reading a config.json: which family it is of, and where in the file something is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sim.errors import ConfigError, Problem
from sim.workload.architecture import Architecture
from sim.workload.hugging_face.families import FAMILIES
from sim.workload.hugging_face.keys import Config

MAX_BYTES = 50_000_000


def architecture_from_json(path: str | Path) -> Architecture:
    """The architecture of a config.json; ConfigError with file, line and key of all that is wrong.

    Named after the file, or after its folder where the file is called config.json.
    """
    path = Path(path)
    file = str(path)
    text = _text(path)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            [
                Problem(
                    file=file,
                    line=error.lineno,
                    column=error.colno,
                    message=f"is not JSON: {error.msg}",
                )
            ]
        ) from None
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError([Problem(file=file, message=f"is not JSON: {reason}")]) from None
    if not isinstance(data, dict):
        raise ConfigError([Problem(file=file, message="a JSON object ({...}) is due")])
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    try:
        return architecture_from_config(data, name)
    except ConfigError as error:
        raise ConfigError([_located(each, file, text) for each in error.problems]) from None


def _text(path: Path) -> str:
    file = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(file=file, message="is too large for a config.json")])
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        folder = path.parent
        close: list[str] = []
        if folder.is_dir():
            close = get_close_matches(path.name, [each.name for each in folder.iterdir()], n=1)
        hint = f": did you mean '{folder / close[0]}'?" if close else ""
        raise ConfigError([Problem(file=file, message=f"no such file{hint}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file=file, message="is not a text file (UTF-8)")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(file=file, message=f"cannot be read ({reason})")]) from None
    if not text.strip():
        raise ConfigError([Problem(file=file, message="is empty")])
    return text


def _located(problem: Problem, file: str, text: str) -> Problem:
    """`problem` with its file, and the line of its key where that can be found."""
    key = (problem.path or "").split(".")[-1]
    places = [match.start() for match in re.finditer(rf'"{re.escape(key)}"\s*:', text)]
    line = text.count("\n", 0, places[-1]) + 1 if key and places else None
    return replace(problem, file=file, line=line)


def architecture_from_config(config: Mapping[str, Any], name: str) -> Architecture:
    """The architecture that the keys of a config.json describe.

    Multi-token-prediction layers (DeepSeek-V3's `num_nextn_predict_layers`) are not counted: they
    are no part of plain decoding. Raises ConfigError listing every missing or absurd dimension.
    """
    family = _family(config)
    if family is None:
        kind = config.get("model_type")
        known = sorted(FAMILIES)
        near = get_close_matches(str(kind), known, n=1) if kind else []
        hint = f"did you mean '{near[0]}'? " if near else ""
        what = f"model_type {kind!r} is not known" if kind else "model_type is missing"
        raise ConfigError(
            [Problem(path="model_type", message=f"{what}; {hint}known: {', '.join(known)}")]
        )
    made = Config(data=config)
    try:
        architecture = FAMILIES[family](made, name)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError, MemoryError):
        made.stop_if_wrong()  # a wrong value led further ones astray: say the first cause
        raise
    made.stop_if_wrong()
    return architecture


def _family(config: Mapping[str, Any]) -> str | None:
    """The family's name: `model_type`, or what the keys give away."""
    kind = config.get("model_type")
    if kind is None and "architectures" in config:
        text = str(config["architectures"]).lower()
        return next((each for each in _LONGEST_FIRST if each.replace("_", "") in text), None)
    if isinstance(kind, str):
        plain = kind.removeprefix("ov_").removesuffix("_text")
        return plain if plain in FAMILIES else None
    if "kv_lora_rank" in config:
        return "deepseek_v2"
    if "ffn_embed_dim" in config:  # fairseq's word
        return "opt"
    if "n_audio_state" in config:
        return "whisper"
    if "attn_heads" in config and "feedforward" in config:
        return "gpt3"
    return None


_LONGEST_FIRST = sorted(FAMILIES, key=len, reverse=True)

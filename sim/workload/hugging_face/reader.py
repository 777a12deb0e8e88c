"""Reading a config.json: which family it is of, and where in the file something is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from sim.errors import ConfigError, Problem
from sim.workload.architecture import Architecture
from sim.workload.hugging_face.families import FAMILIES
from sim.workload.hugging_face.keys import Config

MAX_BYTES = 10_000_000


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
    except RecursionError:
        raise ConfigError([Problem(file=file, message="is not JSON: nested too deeply")]) from None
    except ValueError:  # the one other thing Python's reader refuses
        reason = "a number has thousands of digits"
        raise ConfigError([Problem(file=file, message=f"is not JSON: {reason}")]) from None
    if not isinstance(data, dict):
        raise ConfigError([Problem(file=file, message="a JSON object ({...}) is due")])
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    try:
        return architecture_from_config(data, name)
    except ConfigError as error:
        lines = key_lines(text)
        raise ConfigError(
            [replace(each, file=file, line=lines.get(each.path or "")) for each in error.problems]
        ) from None


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


_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:\n]')


def key_lines(text: str) -> dict[str, int]:
    """The line of each key of a JSON object, by dotted path; `text` is known to be JSON."""
    lines: dict[str, int] = {}
    path: list[str] = []
    line, last = 1, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            path.append("")
        elif token in "}]":
            path.pop()
        elif token == ":":
            path[-1] = str(json.loads(last))
            lines[".".join(path)] = line
        else:
            last = token
    return lines


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
    architecture = FAMILIES[family](made, name)
    made.stop_if_wrong()
    return architecture


def _family(config: Mapping[str, Any]) -> str | None:
    """The family's name: `model_type`, or what the keys give away."""
    kind = config.get("model_type")
    if kind is None and "architectures" in config:
        return _from_class(config["architectures"])
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


def _from_class(names: Any) -> str | None:
    """The family of a class such as Qwen3MoeForCausalLM, the first of `names`."""
    first = names[0] if isinstance(names, list) and names else names
    family = re.split(r"For|Model|LMHead", str(first))[0].lower()
    return {each.replace("_", "").replace("-", ""): each for each in FAMILIES}.get(family)

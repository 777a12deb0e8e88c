"""Keys of a config.json under all the names they go by, with every wrong value remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from sim.errors import ConfigError, Problem

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "hidden": ("hidden_size", "d_model", "n_embd", "dim", "hidden_dim", "hidden"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "num_blocks"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "attn_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "attention_head_dim", "attn_size", "d_kv"),
    "intermediate": (
        "intermediate_size", "inter_dim", "ffn_dim", "ffn_embed_dim", "feedforward", "d_ff",
        "n_inner",
    ),
    "vocabulary": ("vocab_size", "n_vocab"),
    "context": ("max_position_embeddings", "max_seq_len", "n_positions", "seq_size", "n_ctx"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "top_k": (
        "num_experts_per_tok", "num_experts_per_token", "n_activated_experts", "experts_per_token",
    ),
    "expert_intermediate": ("moe_intermediate_size", "moe_inter_dim"),
    "shared_experts": ("n_shared_experts",),
    "dense_layers": ("first_k_dense_replace", "n_dense_layers"),
    "window": ("sliding_window",),
    "dtype": ("torch_dtype", "dtype"),
    "audio_hidden": ("d_model", "n_audio_state"),
    "audio_heads": ("encoder_attention_heads", "n_audio_head"),
    "audio_layers": ("encoder_layers", "n_audio_layer"),
    "audio_frames": ("max_source_positions", "n_audio_ctx"),
    "mel_bins": ("num_mel_bins", "n_mels"),
    "text_layers": ("decoder_layers", "n_text_layer"),
    "text_context": ("max_target_positions", "n_text_ctx"),
}  # fmt: skip
"""Our word for a dimension, and what Hugging Face, DeepSeek, calculon and others call it."""

LARGEST: Final = 1 << 24
"""No width, count or vocabulary of a model is larger; more is a typing mistake."""

LONGEST_CONTEXT: Final = 1 << 40
"""Some files write "no limit" as a huge context."""

MOST_LAYERS: Final = 1_000
"""Layers are built one by one, so a typing mistake must not become a loop's length."""


@dataclass(kw_only=True)
class Config:
    """One mapping of a config.json. Wrong values are collected and answered with 1."""

    data: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What the family's library assumes where a file says nothing."""
    path: str = ""
    problems: list[Problem] = field(default_factory=list)

    def find(self, name: str) -> tuple[str, Any]:
        """The key a file uses for `name`, and its value; None where it has none."""
        names = ALIASES.get(name, (name,))
        for source in (self.data, self.defaults):
            for key in names:
                if source.get(key) is not None:
                    return key, source[key]
        return names[0], None

    def has(self, name: str) -> bool:
        """Whether there is a value for `name`."""
        return self.find(name)[1] is not None

    def wrong(self, name: str, message: str) -> None:
        """Remember a problem with `name`, at the key the file uses for it."""
        key, _ = self.find(name)
        self.problems.append(Problem(path=f"{self.path}{key}", message=message))

    def whole(
        self, name: str, default: int | None = None, *, least: int = 1, most: int = LARGEST
    ) -> int:
        """The whole number called `name`, from `least` to `most`; required without a default."""
        key, value = self.find(name)
        if value is None:
            if default is None:
                self.wrong(name, f"is missing: a whole number is due{self._near(key)}")
                return 1
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(name, f"{_shown(value)}: a whole number is due")
            return 1
        if not least <= value <= most:
            self.wrong(name, f"{_shown(value)}: a whole number from {least} to {most} is due")
            return 1
        return value

    def _near(self, key: str) -> str:
        """A hint at what may be `key` misspelt."""
        near = get_close_matches(key, [each for each in self.data if isinstance(each, str)], n=1)
        return f" (is '{near[0]}' misspelt?)" if near else ""

    def layers(self, name: str = "layers", default: int | None = None) -> int:
        """The number of layers called `name`."""
        return self.whole(name, default, most=MOST_LAYERS)

    def context(self) -> int | None:
        """Longest context the model is made for, None where the file has none."""
        return self.whole("context", most=LONGEST_CONTEXT) if self.has("context") else None

    def automatic(self, name: str, value: int) -> int:
        """The whole number called `name`; `value` where it is "auto" or missing."""
        return value if self.find(name)[1] == "auto" else self.whole(name, value)

    def wholes(self, name: str) -> list[int] | None:
        """The list of whole numbers from 0 called `name`, or None."""
        found = self.items(name)
        if found is None:
            return None
        good = [each for each in found if isinstance(each, int) and not isinstance(each, bool)]
        if len(good) < len(found) or any(each < 0 for each in good):
            self.wrong(name, f"{_shown(found)}: a list of whole numbers from 0 is due")
        return good

    def flag(self, name: str, default: bool) -> bool:
        """The truth value called `name`."""
        _, value = self.find(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(name, f"{_shown(value)}: true or false is due")
            return default
        return value

    def text(self, name: str, default: str = "") -> str:
        """The text called `name`."""
        _, value = self.find(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(name, f"{_shown(value)}: text is due")
            return default
        return value

    def items(self, name: str) -> list[Any] | None:
        """The list called `name`, or None."""
        _, value = self.find(name)
        if value is not None and not isinstance(value, list):
            self.wrong(name, f"{_shown(value)}: a list is due")
            return None
        return value

    def part(self, name: str, defaults: Mapping[str, Any] | None = None) -> Config:
        """The mapping called `name` (empty if absent), sharing this one's problems."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(name, f"{_shown(value)}: an object is due")
            value = None
        return Config(
            data=value or {},
            defaults=defaults or {},
            path=f"{self.path}{name}.",
            problems=self.problems,
        )

    def divides(self, name: str, whole: str, what: str) -> None:
        """Remember a problem where `name`, a number of `what`, does not divide `whole`.

        Nothing is said where one of the two is wrong itself.
        """
        wrong = {each.path for each in self.problems}
        if any(f"{self.path}{self.find(each)[0]}" in wrong for each in (name, whole)):
            return
        parts, total = self.find(name)[1], self.find(whole)[1]
        if parts is not None and total is not None and total % parts:
            self.wrong(name, f"{_shown(parts)} {what} do not divide {_shown(total)}")

    def stop_if_wrong(self) -> None:
        """ConfigError with everything found so far."""
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:37] + "..."

"""Architectures from `config.json` files, in Hugging Face's format and its relatives."""

from sim.workload.hugging_face.reader import architecture_from_config, architecture_from_json

__all__ = ["architecture_from_config", "architecture_from_json"]

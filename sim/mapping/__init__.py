"""Mapping: parallelism, placement and memory: which device runs and holds what."""

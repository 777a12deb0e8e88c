"""Simulation: the one place where a scenario becomes a result."""

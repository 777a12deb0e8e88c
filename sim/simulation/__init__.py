"""Simulation: a scenario becomes outcomes, of one system or of a fleet."""

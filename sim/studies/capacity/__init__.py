"""Capacity: the highest load at which a system keeps an SLO."""

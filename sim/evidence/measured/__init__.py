"""Measured: tables of what machines did, each row beside what the simulator predicts for it."""

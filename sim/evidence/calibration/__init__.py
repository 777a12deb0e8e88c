"""Calibration: constants of kernels, protocols and runtimes fitted to measured times."""

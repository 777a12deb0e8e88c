"""Sweep: a design space evaluated point by point, its front and what explains it."""

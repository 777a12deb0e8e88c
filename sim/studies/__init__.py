"""Studies: a scenario repeated over a design space, its front, and what explains it."""

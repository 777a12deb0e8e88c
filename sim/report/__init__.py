"""Report: results for people to read."""

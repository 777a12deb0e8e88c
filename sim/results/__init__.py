"""Answers: what a simulated scenario came to, as metrics, accounts, reasons and JSON."""

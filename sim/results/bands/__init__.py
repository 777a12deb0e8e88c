"""Bands: how far a result may be off, from what predictions of its kind were off by."""

"""Patches: their format, applying and making them."""

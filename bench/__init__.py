"""Measurements: ``python -m bench`` prints one JSON object. Documents quote only its output."""

"""Trust: what may be installed."""

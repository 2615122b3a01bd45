"""Transfer: how bytes arrive. Knows nothing of trust."""

"""Penstock's host: configuration, graph, supervisor, links and command line around the C data plane."""

__version__ = "0.1.0"

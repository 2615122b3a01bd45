"""Penstock's update agent. It never imports ``gateway``: the updater must outlive what it updates."""

__version__ = "0.1.0"

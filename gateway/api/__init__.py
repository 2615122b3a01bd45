"""The control interface: what a running gateway tells and can be told, over a local socket.

Normative: docs/control-protocol.md.
"""

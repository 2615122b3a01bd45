"""The update agent of a device: what it remembers, when it commits, how it installs."""

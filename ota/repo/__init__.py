"""Build side: a TUF repository in a folder. Never on the agent's import path."""

"""Connections to the outside: field ports south, brokers north."""

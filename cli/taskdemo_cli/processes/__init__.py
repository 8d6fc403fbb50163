"""Processes around a command: servers, their event streams, signals and temporary folders."""

"""Huey, over a SQLite file."""

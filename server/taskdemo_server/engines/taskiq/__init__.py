"""Taskiq, over a Redis stream."""

"""Conducts the commands' measurements: single runs, and searches for capacity."""

"""Conducts what the commands measure: a run, a comparison, a scan, a search for capacity."""

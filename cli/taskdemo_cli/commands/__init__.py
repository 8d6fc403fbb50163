"""One file per command, and their options: parse, call, choose a view, save, return the exit code."""

"""The journal: the append-only record of what happened to every task, and what is read off it."""

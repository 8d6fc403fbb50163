"""The journal: the append-only record of what happened to every task, and the index that is built from it."""

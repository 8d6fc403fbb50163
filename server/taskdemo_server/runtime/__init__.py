"""A server's life: its start, its shutdown, and the end of everything that it has started."""

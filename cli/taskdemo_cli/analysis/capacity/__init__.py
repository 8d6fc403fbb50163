"""How much a server takes: what is asked, each step, the search, and what it means. Pure: no I/O and no clock."""

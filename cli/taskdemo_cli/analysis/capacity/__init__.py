"""How much load a server takes: the subject, each step, the search and the verdict. Pure: no I/O and no clock."""

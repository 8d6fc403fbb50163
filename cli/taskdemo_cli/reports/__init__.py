"""Documents for people: on the terminal, as a page, and as files in other formats. Computes no figure."""

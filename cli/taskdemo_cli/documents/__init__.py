"""The documents: what is saved, printed as JSON, and read back. One module per kind, and `schema.json` of them all.

Nothing here computes a figure, reads a clock or opens a file. Seconds everywhere, as floats in names ending in `_s`;
offsets count from the first planned send of the run; None where not measured, UNSET where a document leaves it out.
A field has a default where files of earlier versions may lack it. Each document is made once and whole:
`msgspec.structs.replace` makes another one of it.
"""

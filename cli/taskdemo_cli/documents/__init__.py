"""The types of what is saved, and how documents are read and written as JSON. Computes no figure."""

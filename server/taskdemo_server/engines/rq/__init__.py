"""RQ, over Redis."""

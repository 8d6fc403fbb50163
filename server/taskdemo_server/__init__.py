"""The demo server: one FastAPI endpoint, and every honest way to run slow work behind it."""

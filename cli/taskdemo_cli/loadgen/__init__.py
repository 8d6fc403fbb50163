"""The load generator: a separate process that sends requests and timestamps them. Knows no screen and no statistics."""

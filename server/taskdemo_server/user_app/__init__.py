"""Serves and watches the user's own ASGI application."""

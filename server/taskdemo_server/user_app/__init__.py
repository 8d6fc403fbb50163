"""The user's own ASGI application, served and watched."""

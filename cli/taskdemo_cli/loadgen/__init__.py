"""The load: a process of its own that fires requests and stamps them on the wire. Knows no screen and no statistics."""

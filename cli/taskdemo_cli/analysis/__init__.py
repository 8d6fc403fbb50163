"""What the figures mean. Pure: no I/O, no clock, no screen."""

"""Whether an endpoint of the user's own application holds up others: judged, and said. Pure: no I/O and no clock."""

"""Whether an endpoint of the user's own application holds up others: verdict and wording. Pure: no I/O and no clock."""

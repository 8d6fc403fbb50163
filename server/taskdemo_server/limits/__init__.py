"""The experiments of `taskdemo limits`. Imports nothing: pool processes and workers want `step` alone."""

"""The experiments of `taskdemo limits`. Imports nothing: pool processes and workers need only `step`."""

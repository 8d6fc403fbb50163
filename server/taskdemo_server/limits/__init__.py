"""The experiments of `taskdemo limits`. Imports nothing: pool processes and Celery workers want `steps` alone."""

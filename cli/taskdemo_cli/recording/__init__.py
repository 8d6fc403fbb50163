"""Folds everything reported during a run into one record: live figures while it runs, its document afterwards."""

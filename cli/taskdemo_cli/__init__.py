"""The command line: starts servers, fires at them, compares what was measured and shows it."""

"""The command line: starts servers, sends requests to them, compares the measurements and shows the results."""

"""Documents and live figures on the terminal."""

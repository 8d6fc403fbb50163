"""Views: each draws a result and computes nothing."""

"""The queue engines, a folder each with its page, its adapter and its steps; and the code that they share."""

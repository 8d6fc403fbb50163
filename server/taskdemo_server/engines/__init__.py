"""The queue engines: a folder each, with its page, its adapter and its steps; and what runs any of them."""

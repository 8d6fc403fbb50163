"""A document as one page that needs no network and no script."""

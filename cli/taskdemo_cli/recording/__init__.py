"""What came in, folded into one record: the live figures while a run goes on, its document when it has ended."""

"""Child processes and what they leave behind: servers, signals, temporary folders, the stream of events."""

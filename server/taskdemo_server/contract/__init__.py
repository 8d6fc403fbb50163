"""What both wings share: events, modes, settings, texts and errors. Standard library only."""

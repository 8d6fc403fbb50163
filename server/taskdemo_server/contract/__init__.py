"""What both wings share: events, sightings, modes, settings, texts and errors. Standard library and msgspec only."""

"""widgets: what is on the screen, one per file."""

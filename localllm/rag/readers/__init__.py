"""readers: one file per format, each gives text and a map back to page and line."""

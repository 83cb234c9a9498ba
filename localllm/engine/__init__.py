"""engine: tokens in, tokens out."""

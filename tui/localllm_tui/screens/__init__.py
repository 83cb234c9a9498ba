"""screens: what takes over the whole terminal."""

"""Rows of stars as borders."""

NO_STARS = r"([^*]|\*{1,2}[^*])"
"""One character of a text in which no border of three stars or more stands."""

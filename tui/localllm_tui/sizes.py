"""Widths of the window at which screens change: the class that a screen has from so many columns on."""

BREAKPOINTS = [(0, "-w0"), (60, "-w80"), (100, "-w100"), (120, "-w120")]

"""checks: one file per family of rules."""

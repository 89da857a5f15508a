"""The facts of a decision."""

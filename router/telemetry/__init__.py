"""Journal, figures, metrics and prices of ended requests."""

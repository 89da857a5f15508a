"""Records of requests: ledger, journal, figures, metrics and prices."""

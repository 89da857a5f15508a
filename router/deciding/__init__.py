"""What a decision is made of."""

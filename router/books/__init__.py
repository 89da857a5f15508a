"""What happened and what it cost: written once when an answer ends, read by page and tuner."""

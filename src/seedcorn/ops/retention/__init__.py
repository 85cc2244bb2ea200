"""Which snapshots are kept; forgetting the others, and taking that back."""

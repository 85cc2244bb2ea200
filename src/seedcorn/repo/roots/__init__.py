"""What is kept, and what it needs: snapshots and the signed records that say what they are worth."""

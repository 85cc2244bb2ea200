"""What this machine remembers of a repository between runs. Never authoritative."""

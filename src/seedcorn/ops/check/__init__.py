"""What is wrong with a repository, and putting it right."""

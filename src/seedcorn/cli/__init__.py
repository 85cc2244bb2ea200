"""The command line: parse, call one operation, render. Owns everything that is said to a person, and nothing that is done to a repository."""

"""Use cases: options in, result out, monitor last. The only door through which front ends reach a repository."""

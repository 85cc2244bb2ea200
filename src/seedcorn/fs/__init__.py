"""The local file system: walk it, read it, and write it back without being led astray.

Owns every system call on sources and targets. Knows ``Node``; must never know a key, a chunk, a store or a repository.
"""

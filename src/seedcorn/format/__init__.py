"""Bytes to frozen structs and back. Never sees a key, a file or a store; every decoder has size limits. The layouts are docs/format.md."""

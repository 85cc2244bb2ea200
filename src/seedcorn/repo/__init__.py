"""Composes crypto, format and store into a repository: opening by capability, packs, the index, reading frames, signed history.

No local-file semantics.
"""

"""The store room: immutable objects under opaque keys, in a cloud or in a local directory.

``api`` is the interface, ``address`` turns what a person types into an open store, ``local`` and ``cloud`` are the two kinds, ``wrappers`` sit around
either. Knows bytes and keys only: no format, no encryption, no environment.
"""

"""Chunks into frames into packs, and back."""

"""Packs and index segments written anew by a maintainer."""

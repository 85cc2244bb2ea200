"""Frames that are mostly dead: their live chunks are written anew, and snapshots relocated to them."""

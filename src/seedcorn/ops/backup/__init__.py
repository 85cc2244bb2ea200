"""From directories or a stream to a confirmed snapshot."""

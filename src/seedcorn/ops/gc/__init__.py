"""Collections: what nothing needs any more, and its deletion while hosts back up."""

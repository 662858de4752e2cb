"""Published weights: what there is, its licences, and verified downloads."""

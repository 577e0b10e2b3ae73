"""Speed measurements and soak runs of Model Release on one machine."""

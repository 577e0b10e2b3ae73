"""Measurements and endurance runs of Model Release, on this machine alone."""

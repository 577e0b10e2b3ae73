"""Stand-ins that let Model Release run whole on one machine, without Azure."""

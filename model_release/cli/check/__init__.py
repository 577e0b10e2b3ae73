"""The command `check`: find faults before a model is registered."""

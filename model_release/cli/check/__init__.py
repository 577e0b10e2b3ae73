"""Find every fault before a model does."""

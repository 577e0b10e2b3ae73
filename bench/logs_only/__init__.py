"""A Functions app that only logs: the cost of the host and its library."""

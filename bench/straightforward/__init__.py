"""A straightforward Functions app, to compare with."""

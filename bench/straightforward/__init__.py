"""A Functions app as people write it today, to compare with."""

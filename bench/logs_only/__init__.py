"""A Functions app that only logs: what host and library cost before an app does anything."""

"""The command line, for developers; never deployed."""

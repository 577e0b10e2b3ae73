"""What can be asked of Model Release in a terminal or a pipeline; for developers, never deployed."""

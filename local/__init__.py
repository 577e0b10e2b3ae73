"""Local replacements of Azure's services, so that the app runs on one machine."""

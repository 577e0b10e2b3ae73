"""What the HTTP triggers show."""

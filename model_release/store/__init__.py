"""What is kept in Table storage."""

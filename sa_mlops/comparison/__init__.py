"""Methods of forgetting side by side."""

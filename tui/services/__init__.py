"""What the screens ask for; everything slow runs in worker threads and imports what it needs there."""

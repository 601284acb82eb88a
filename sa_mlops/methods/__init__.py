"""Methods of forgetting: one file each."""

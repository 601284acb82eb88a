"""The terminal UI: browse versions and lineage, preview samples, launch and follow runs, promote."""

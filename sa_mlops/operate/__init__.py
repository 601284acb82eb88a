"""Tools on a store of versions: look, check, rebuild, report, promote."""

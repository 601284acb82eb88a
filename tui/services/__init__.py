"""Services of the screens, without Textual. Slow ones run in worker threads and import their libraries there."""

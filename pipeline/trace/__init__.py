"""Where an event is, and why."""

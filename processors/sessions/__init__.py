"""Events to sessions, by visitor, whatever their order."""

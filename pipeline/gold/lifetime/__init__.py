"""What customers will be worth: models that are fitted to what they bought. Pure."""

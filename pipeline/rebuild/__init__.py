"""Silver made again from bronze, beside the live tables, and put in their place."""

"""A synthetic shop: what its visitors, customers and systems do, as events. Pure: a seed in, events out."""

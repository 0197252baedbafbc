"""What silver must hold once the records of a ledger have gone through: every row, every determined field.

A second opinion: it shares the events' types with the pipeline and nothing else. What it says of channels,
devices and robots is what the shop meant, not what the pipeline's rules make of it; sessions are sorted and
cut, customers and products are their events in the order they happened. Pure.
"""

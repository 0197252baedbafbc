"""Faust, a partition batch at a time.

Stock Faust hands an agent one event at a time. Here an agent is handed everything that was fetched from one
partition as one `Batch`, and does with it, in this order: compute (a pure `Stage`), send outputs and changed
state and await every acknowledgement, apply the new state, mark the batch done. Only then may its offset be
committed. Worker, agents, consumer groups, assignment and sensors are Faust's own.
"""

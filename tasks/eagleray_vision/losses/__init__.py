"""Losses that the panoptic systems share, as (sum, weight) pairs.

A loss over a batch is sum / weight; both are returned, so that whoever trains can add them up over
workers and micro-batches before dividing. A loss with nothing to count has weight 0 and a sum that
still hangs on the network's outputs, so that every worker builds the same graph.
"""

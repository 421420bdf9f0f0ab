"""The contract between a task and the engine, one module per capability; plugins import it from
``eagleray.task``.
"""

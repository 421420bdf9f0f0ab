"""The command ``eagleray``: one module per group of verbs, help and checks derived from types."""

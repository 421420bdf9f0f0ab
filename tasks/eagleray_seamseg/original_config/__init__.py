"""Configuration files of the original code: what they may say, and the experiment they become."""

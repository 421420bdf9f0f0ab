"""The scene in the interactive viewer: what a camera sees, picks, pictures and downloads."""

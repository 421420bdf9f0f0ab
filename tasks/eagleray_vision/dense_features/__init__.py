"""Features of every pixel from frozen networks, read where points are."""

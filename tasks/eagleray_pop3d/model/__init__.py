"""The network: image backbone, pyramid, tri-perspective view encoder, aggregator with two heads."""

"""OPS (Open Panoramic Segmentation): any words, any panorama."""

"""The Seamless network: ResNet-50 and FPN, RPN and Mask R-CNN heads, Mini-DL semantic head."""

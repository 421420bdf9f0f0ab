"""The network: CLIP's frozen towers, the side adapter with its deformable blocks, recognition."""

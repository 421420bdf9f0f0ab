"""CLIP for every task: weights of any source, image tower, words to vectors.

clip = read_clip(path)                           # OpenAI's archive, open_clip's files, "toy"
tower = ClipImageTower(clip.visual)              # features after any block, for any grid
rows = embed_words(clip, ["car", "tree"], PROMPT_SETS["vild"])    # (2, D), of length 1
"""

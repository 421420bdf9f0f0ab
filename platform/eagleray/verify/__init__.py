"""Are the files of a storage what their markers say?"""

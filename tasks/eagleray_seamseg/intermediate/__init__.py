"""The intermediate format of the original Seamless code: reading it, and writing any data set in
it.
"""

"""`nanoseg doctor`: what this machine can run, what it cannot, and the line that mends it.

Its readers were written from how NVIDIA documents the files of a Jetson and from what users published of their own
boards; they are tested on copies of such files. Nothing here was ever run on a Jetson.
"""

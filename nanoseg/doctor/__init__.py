"""`nanoseg doctor`: what this machine can run, and the command that fixes each problem.

Readers (`read_*`) collect the state of a machine, checks (`check_*`) turn it into findings, and `report` prints them.
The readers follow NVIDIA's documentation of a Jetson's files and files that users published; they are tested on copies
of such files. Nothing here was ever run on a Jetson.
"""

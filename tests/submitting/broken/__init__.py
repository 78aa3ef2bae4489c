"""Methods that each break one check, and the frames that they are built on.

`FAULTS` of each module: the method, the check that it fails and a text of the message.
"""

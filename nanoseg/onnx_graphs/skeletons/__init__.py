"""Networks as nanoseg exports them, without their weights: they are filled from published files, without torch.

`python -m nanoseg.models.export.skeletons` writes the files, with torch; see there.
"""

"""What reads a live source, in a process of its own: V4L2, CSI, streams, and any other source at its own pace."""

"""`nanoseg build`: the engines of a bundle for this device."""

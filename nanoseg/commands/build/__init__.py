"""`nanoseg build`: build a bundle's engines for this device."""

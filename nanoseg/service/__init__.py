"""The edge service: cameras, one set of engines, a page, numbers to alert on."""

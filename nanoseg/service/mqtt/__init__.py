"""Records of the service to an MQTT broker, and its entities in Home Assistant."""

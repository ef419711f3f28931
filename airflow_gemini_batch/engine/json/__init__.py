"""JSON as the service and its users write it: read strictly, or leniently."""

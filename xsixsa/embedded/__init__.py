"""An engine with PyXspec's names for machines without HEASoft."""

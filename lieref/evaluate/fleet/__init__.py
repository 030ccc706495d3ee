"""One base and many devices with data of their own: an adapter each, or one of all by federated rounds."""

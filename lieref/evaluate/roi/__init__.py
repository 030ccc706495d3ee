"""What updates of a fleet cost, what they bring, and which of the assumptions decides."""

"""Who calls, and what they may do: used by serving and the hub alike."""

"""Episodes of ALOHA's two arms, planned, simulated and recorded."""

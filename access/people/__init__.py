"""People who sign in: their accounts, roles, sessions, and the sign-in page."""

//! Logging in with a secret key, with the real programs.

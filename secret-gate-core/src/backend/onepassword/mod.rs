//! Secrets from a 1Password Connect server.

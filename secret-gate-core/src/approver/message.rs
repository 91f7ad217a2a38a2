//! The approval message.

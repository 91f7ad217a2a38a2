//! The MCP front-end of Secret Gate. There is nothing here yet.

//! Prints the description of the HTTP API, OpenAPI 3.0.3.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    println!("{:#}", secret_gate_server::Server::openapi());
}

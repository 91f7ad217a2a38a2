//! `health`: whether the server beside it serves, for what can run a program but has no shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use reqwest::StatusCode;
use secret_gate_server::config::ListenConfig;

use super::check::http::{self, Trust};
use super::failure::Failure;
use super::print;

const EXAMPLES: &str = "\
Example:
  secret-gate-server health    prints OK, or fails and says why

Asks /health at BIND_ADDRESS and PORT, on this machine; needs no other variable. It tells whether
the process serves; whether 1Password Connect and Telegram can be reached, /ready tells.";

/// See whether the server on this machine serves.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Health;

impl Health {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let listen = ListenConfig::from_env()?;
        if listen.port == 0 {
            return Err(Failure::usage("PORT=0 takes any free port, so nobody can know it", "set PORT to a number"));
        }
        let address = SocketAddr::new(near(listen.bind_address), listen.port);
        let hint = "see the server's log; BIND_ADDRESS and PORT must be those that it was started with";
        match http::get(&format!("http://{address}/health"), Trust::Usual).await {
            Ok(answer) if answer.status == StatusCode::OK => print::data("OK"),
            Ok(answer) => Err(Failure::new(format!("{address} answers {}", answer.status), hint)),
            Err(why) => Err(Failure::new(format!("{address} does not answer: {why}"), hint)),
        }
    }
}

/// Where to reach what listens at an address.
const fn near(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    }
}

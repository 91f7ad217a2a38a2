//! A 1Password Connect server to try things by hand, with invented secrets or those of a file.

#![expect(clippy::print_stdout, reason = "this program talks to the person who started it")]

use std::{error::Error, fs, net::SocketAddr, path::PathBuf};

use clap::Parser;
use secret_gate_doubles::ConnectDouble;

/// What `seed_demo` adds, for the person who wants to ask for it.
const DEMO_ITEMS: &str = "Payment provider (credential), Mail (username, password), Postgres production, Deploy host";

/// Plays a 1Password Connect server until Ctrl-C.
///
/// Break it while it runs with
/// curl -d '{"fault":{"status":500},"times":{"next":1}}' -H content-type:application/json URL/control/fault
#[derive(Debug, Parser)]
#[command(name = "connect-double")]
struct Options {
    /// The address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The bearer token to accept.
    #[arg(long, default_value = "connect-double-token")]
    token: String,
    /// Adds a few vaults and items with invented secrets.
    #[arg(long)]
    demo: bool,
    /// Adds the vaults and items of a JSON file: {"vaults": [{"name": "…", "items": [FullItem, …]}, …]}.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let connect = ConnectDouble::start_on(options.listen).await?.with_token(&options.token);
    if options.demo {
        connect.seed_demo();
    }
    if let Some(file) = options.items {
        connect.seed(&serde_json::from_str(&fs::read_to_string(file)?)?)?;
    }
    println!("This plays a 1Password Connect server until Ctrl-C. In the terminal of the server:\n");
    println!("export OP_CONNECT_HOST={}", connect.url());
    println!("export OP_CONNECT_TOKEN={}", connect.token());
    println!("export BIND_ADDRESS=127.0.0.1 PORT=8080 WEBHOOK_BASE_URL=http://127.0.0.1:8080\n");
    if options.demo {
        println!("Items to ask for: {DEMO_ITEMS}");
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

//! A 1Password Connect server to try things by hand, with invented secrets or those of a file.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to the person who started it")]

use std::{error::Error, fs, iter, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use secret_gate_doubles::{ConnectDouble, DoubleError};

/// What `seed_demo` adds, for the person who wants to ask for it.
const DEMO_ITEMS: &str = "Payment provider (credential), Mail (username, password), Postgres production, Deploy host";

/// Plays a 1Password Connect server until Ctrl-C.
///
/// Break it while it runs with
///   curl URL/control/fault -H content-type:application/json \
///     -d '{"fault":{"status":500},"times":{"next":1}}'
#[derive(Debug, Parser)]
#[command(name = "connect-double", verbatim_doc_comment)]
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
async fn main() -> ExitCode {
    match play(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn play(options: Options) -> Result<(), Box<dyn Error>> {
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

/// The error with what caused it, and what to do where the address is taken.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    let text = causes.collect::<Vec<_>>().join(": ");
    match error.downcast_ref() {
        Some(DoubleError::Listen { .. }) => format!("{text}\nhint: choose another address with --listen"),
        _ => text,
    }
}

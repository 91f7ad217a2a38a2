//! `secret-gate demo`: a gate, its server, a daemon and a client in one process, with made-up secrets. Needs no
//! configuration and no network, and leaves nothing behind.
//!
//! `vault` makes the secrets up, `human` answers, `walk` asks over HTTP as any client would, `using` runs commands with
//! the daemon in `own` and logs in at the `login`; `tell` tells it all.

mod human;
mod login;
mod own;
mod tell;
mod using;
mod vault;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use secret_gate_core::Gate;
use secret_gate_core::client::RemoteGate;
use secret_gate_server::Server;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::ui::{BOLD, RESET, Ui};

use human::Human;
use own::Own;
use tell::Teller;

/// How long the server may take to finish what is under way.
const FAREWELL: Duration = Duration::from_millis(500);

/// How to show the demo.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Answer by itself, for scripts; needs no terminal
    #[arg(long)]
    yes: bool,
    /// Stay up after the walk, with commands to try, until Ctrl-C
    #[arg(long)]
    serve: bool,
}

impl Demo {
    /// Shows everything, from the made-up vault to the closed port.
    pub(crate) async fn run(&self, ui: Ui) -> Result<Exit, Failure> {
        let mut stop = Stop::new()?;
        let human = if self.yes { Human::scripted(ui) } else { Human::at_the_terminal()? };
        let vault = vault::made_up()?;
        let key = vault::public_key(&vault).await?;
        let gate = Gate::builder(Arc::new(vault), human.approver).build();

        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|problem| cannot("listen", &problem))?;
        let address = listener.local_addr().map_err(|problem| cannot("listen", &problem))?;
        let url = format!("http://{address}");
        let (close, closed) = oneshot::channel::<()>();
        let server = Server::new(gate, &url).serve(listener, async move { drop(closed.await) });
        let mut server = tokio::spawn(server);

        let own = Own::start(&url)?;

        let outcome = tokio::select! {
            shown = self.show(ui, &url, &own, &key) => shown.map(|()| Exit::Done),
            stopped = stop.signal() => Ok(stopped.exit),
            nobody = human.gone => Err(nobody),
            _ = &mut server => return Err(Failure::new(Exit::Failed, "the server ended by itself")),
        };
        own.end().await;
        drop(close);
        // what is still open after that ends with the runtime
        drop(tokio::time::timeout(FAREWELL, server).await);
        if let Ok(Exit::HungUp | Exit::Interrupted | Exit::Terminated) = outcome {
            // where standard output is gone as well, the exit code says it
            ui.tell("\nstopped: the port is closed and the values are gone").ok();
        }
        outcome
    }

    async fn show(&self, ui: Ui, url: &str, own: &Own, key: &str) -> Result<(), Failure> {
        let client =
            RemoteGate::builder(url.parse().map_err(|problem| cannot("use its own URL", &problem))?).build()?;
        ui.tell(&format!("{BOLD}A human approves, a secret is released, once.{RESET}"))?;
        ui.tell(&format!("A real server at {url} holds made-up secrets in memory; all of it ends with the demo."))?;
        let walked = async {
            walk::walk(ui, &client, self.yes).await?;
            using::walk(Teller(ui), own, key, self.yes).await
        };
        walked.await.map_err(|failure| match failure.exit {
            Exit::PipeClosed => failure,
            _ => Failure { exit: Exit::Failed, ..failure },
        })?;
        if self.serve {
            ui.tell(&to_try(url, own))?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn to_try(url: &str, own: &Own) -> String {
    let (program, database, token) = (program(), vault::DATABASE, vault::API_TOKEN);
    let runtime = quoted(&own.folder().to_string_lossy());
    format!(
        "
{BOLD}The server stays at {url} until Ctrl-C.{RESET} Questions appear here; try in another terminal,
with the demo's daemon instead of yours:

  export XDG_RUNTIME_DIR={runtime}
  {program} --server {url} --search data
  {program} --server {url} --secret {database} --fields
  {program} --server {url} --secret {database} --field password --reason 'try it out'
  {program} --server {url} --secret {token} --reason 'try it out'
  {program} exec --server {url} --secret {token} --env TOKEN=token --reason 'try it out' --shell 'echo $TOKEN'
  {program} grants
  curl {url}/search -d '{{\"query\":\"data\"}}'
  curl {url}/request -d '{{\"secret_name\":\"{database}\",\"reason\":\"try it out\"}}'
"
    )
}

/// How to start this program from anywhere: as it was started where that was by its name alone, else by its path.
fn program() -> String {
    let typed = std::env::args().next().unwrap_or_default();
    if !typed.is_empty() && !typed.contains('/') {
        return typed;
    }
    let path = std::env::current_exe().map_or(typed, |path| path.to_string_lossy().into_owned());
    quoted(&path)
}

/// The text as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "/._-+=@:".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn cannot(what: &str, problem: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the demo can't {what}: {problem}"))
}

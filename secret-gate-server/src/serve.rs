//! Serving: puts the parts together that the environment names, and runs until it is told to stop.

use std::sync::Arc;

use secret_gate_core::approver::telegram::{ChatKind, TelegramApprover, TelegramError};
use secret_gate_core::audit::{AuditLog, FileAudit, TracingAudit};
use secret_gate_core::{Approver, Gate, OnePassword, SecretBackend, SecretValue};
use secret_gate_server::config::Config;
use secret_gate_server::identity::{Identity, KeysFile};
use secret_gate_server::logging::{self, LogFormat};
use secret_gate_server::{Limits, Metrics, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

type Failure = Box<dyn std::error::Error>;

/// Serves until a signal ends it.
pub(crate) fn run() -> Result<(), Failure> {
    let _log = logging::start(LogFormat::from_env()?)?;
    secret_gate_server::raise_file_limit();
    let config = Config::from_env()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    // a name look-up or a disk that hangs must not hold up the end
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<(), Failure> {
    let keys = config.api_keys_file.as_ref().map(|path| {
        KeysFile::open(path).map_err(|error| format!("API_KEYS_FILE ({}) can't be used: {error}", path.display()))
    });
    let identity = Identity::new(keys.transpose()?, config.trusted_proxies.clone());
    if !identity.needs_key() && !config.bind_address.is_loopback() {
        tracing::warn!("anybody who reaches {} may ask; set API_KEYS_FILE to change that", config.bind_address);
    }
    // Telegram last: a start that fails must not take presses away from a server that runs
    let (backend, audit) = (backend(&config)?, audit(&config)?);
    let address = (config.bind_address, config.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("can't listen on {}:{} (BIND_ADDRESS, PORT): {error}", address.0, address.1))?;
    let metrics = Metrics::new();
    let telegram = telegram(&config, &metrics)?;
    let approver = metrics.approver(Arc::clone(&telegram) as Arc<dyn Approver>);
    let gate = Gate::builder(metrics.backend(backend), approver)
        .audit(metrics.audit(audit))
        .on_step(metrics.steps())
        .request_ttl(config.request_ttl)
        .index_ttl(config.index_ttl)
        .max_pending(config.max_pending, config.max_pending_per_requester)
        .build();
    let server = Server::new(gate.clone(), &config.base_url)
        .identity(identity)
        .limits(Limits::per_minute(config.max_requests_per_minute, config.max_lookups_per_minute))
        .client_dir(&config.client_dir)
        .metrics(metrics)
        .cleanup_interval(config.cleanup_interval);

    tracing::info!(address = %listener.local_addr()?, "listening");
    let until_stopped = async {
        server.serve(listener, told_to_stop()?).await?;
        telegram.stop().await;
        match gate.settle().await {
            0 => Ok::<(), Failure>(()),
            owed => Err(format!("{owed} entries could not be written to the audit log, and are lost now").into()),
        }
    };
    tokio::select! {
        stopped = until_stopped => stopped?,
        () = told_to_stop_again()? => return Err("stopped by a second signal, with something under way".into()),
    }
    tracing::info!("stopped");
    Ok(())
}

fn backend(config: &Config) -> Result<Arc<dyn SecretBackend>, Failure> {
    let token = SecretValue::copy_of(config.connect_token.expose());
    Ok(Arc::new(OnePassword::builder(&config.connect_host, token).build()?))
}

fn audit(config: &Config) -> Result<Arc<dyn AuditLog>, Failure> {
    let Some(path) = &config.audit_log else { return Ok(Arc::new(TracingAudit::new())) };
    let file = FileAudit::open(path)
        .map_err(|error| format!("AUDIT_LOG ({}) can't be opened for writing: {error}", path.display()))?;
    Ok(Arc::new(file))
}

fn telegram(config: &Config, metrics: &Metrics) -> Result<Arc<TelegramApprover>, Failure> {
    let token = SecretValue::copy_of(config.bot_token.expose());
    let mut builder = TelegramApprover::builder(token, config.chat_id)
        .api_url(&config.telegram_api_url)
        .on_failed_call(metrics.telegram_errors());
    if !config.approver_ids.is_empty() {
        builder = builder.approver_ids(config.approver_ids.iter().copied());
    }
    let telegram = Arc::new(builder.start().map_err(|error| match error {
        TelegramError::Token => format!("TELEGRAM_BOT_TOKEN is malformed: {error}"),
        error => error.to_string(),
    })?);
    if config.approver_ids.is_empty() {
        let telegram = Arc::clone(&telegram);
        // beside the start: a Telegram that is away for now does not keep the server from starting
        tokio::spawn(async move {
            match telegram.chat_kind().await {
                Ok(ChatKind::Private) => {}
                Ok(_) => tracing::warn!("whoever is in the chat may decide; set TELEGRAM_APPROVER_IDS to change that"),
                Err(error) => tracing::warn!(%error, "the chat can't be looked at"),
            }
        });
    }
    Ok(telegram)
}

/// Ready on SIGINT or SIGTERM.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.next().await;
        tracing::info!("stopping: finishing what is under way; a second signal ends it at once");
    })
}

/// Ready on the second SIGINT or SIGTERM.
fn told_to_stop_again() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.next().await;
        signals.next().await;
    })
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

//! The protocol: which tool is called, and how its answer looks.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ErrorCode,
    ErrorData, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::{RequestContext, ServerInitializeError, serve_server};
use rmcp::{RoleServer, ServerHandler};
use secret_gate_core::client::ClientError;
use secret_gate_core::daemon::Settings;
use secret_gate_core::wire::{FieldsRequest, SearchRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::arguments::{Inspect, NoArguments, Search};
use crate::questions::Questions;
use crate::refusal::{Refusal, cut};
use crate::results::{DaemonStatus, Fields, Matches};
use crate::transport::Lines;
use crate::wanted::Named;
use crate::{Options, daemon, request, run, tools};

/// How many calls may be under way at once.
const MAX_CALLS: usize = 64;

/// The methods that this server answers.
const KNOWN_METHODS: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// How long the server may take to answer a look-up.
const LOOK_UP: Duration = Duration::from_secs(40);

/// Why serving ended otherwise than with the end of input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The client did not begin as MCP clients do.
    #[error("the client does not begin as an MCP client does")]
    Handshake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server broke.
    #[error("the server broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves on standard input and output, until the end of input. Whatever else the process prints has to go elsewhere.
///
/// Afterwards a read of standard input may still be pending, which holds up the end of a runtime that waits for it; end it
/// with `shutdown_background`.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_stdio(options: Options) -> Result<(), ServeError> {
    serve(options, tokio::io::stdin(), tokio::io::stdout()).await
}

/// Serves a client that writes to `reader` and reads from `writer`, until the end of input. Questions that are open then
/// are withdrawn, and commands that run are killed, after five seconds at most.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    options: Options,
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), ServeError> {
    let ended = CancellationToken::new();
    let lines = Lines::new(reader, writer, ended.clone());
    let questions = Questions::new(options.grace);
    let server = Server {
        tools: tools::all().into(),
        questions: questions.clone(),
        options,
        calls: Arc::new(Semaphore::new(MAX_CALLS)),
        ended,
    };
    let served = match serve_server(server, lines).await {
        Ok(running) => running.waiting().await.map(drop).map_err(|error| ServeError::Broken(Box::new(error))),
        // nobody was there, or has gone
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(ServeError::Handshake(Box::new(error))),
    };
    questions.withdraw_all();
    served
}

#[derive(Debug, Clone)]
struct Server {
    tools: Arc<[Tool]>,
    questions: Questions,
    options: Options,
    calls: Arc<Semaphore>,
    /// Cancelled at the end of input.
    ended: CancellationToken,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("secret-gate", env!("CARGO_PKG_VERSION")).with_title("Secret Gate");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let CustomRequest { method, .. } = request;
        // a known method whose parameters are none of its own is taken for an unknown one
        if KNOWN_METHODS.contains(&method.as_str()) {
            return Err(ErrorData::invalid_params("the parameters are none of this method", None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "there is no such method", None))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.get_tool(&call.name) else {
            let known: Vec<_> = self.tools.iter().map(|tool| tool.name.as_ref()).collect();
            let problem = format!("there is no such tool; there are {}", known.join(", "));
            return Err(ErrorData::invalid_params(problem, None));
        };
        let Ok(_under_way) = self.calls.try_acquire() else {
            return Ok(refused(Refusal::new("too many calls are under way; wait for one to be answered")));
        };
        let answer = tokio::select! {
            // leaving ends the wait, and the command
            () = context.ct.cancelled() => Err(Refusal::new("the call was cancelled")),
            answer = self.answer(&tool.name, call.arguments.unwrap_or_default(), &context) => answer,
        };
        Ok(answer.unwrap_or_else(refused))
    }
}

impl Server {
    async fn answer(
        &self,
        tool: &str,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, Refusal> {
        match tool {
            "search_secrets" => structured(search(read(arguments)?).await?),
            "inspect_fields" => structured(inspect(read(arguments)?).await?),
            "request_secret" => {
                let request = request::request(read(arguments)?, &self.questions, &self.options, context);
                tokio::select! {
                    answer = request => structured(answer?),
                    () = self.ended.cancelled() => Err(Refusal::new("the client has gone; the question is withdrawn")),
                }
            }
            "exec_with_secret" => structured(run::exec(read(arguments)?, run::agent(context)).await?),
            "ssh_with_secret" => structured(run::ssh(read(arguments)?, run::agent(context)).await?),
            _ => {
                let NoArguments {} = read(arguments)?;
                structured(status().await?)
            }
        }
    }
}

/// Reads the arguments of a tool. What is wrong with them is told without quoting them at length.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Refusal> {
    serde_json::from_value(arguments.into()).map_err(|error| {
        let problem = cut(error.to_string(), 300);
        Refusal::with_hint(
            format!("the arguments don't fit: {problem}"),
            "Call again with arguments that fit the tool's input schema",
        )
    })
}

fn structured(result: impl Serialize) -> Result<CallToolResponse, Refusal> {
    let value = serde_json::to_value(result).map_err(|error| Refusal::new(error.to_string()))?;
    Ok(CallToolResult::structured(value).into())
}

/// Text alone: some clients show a model what is structured in place of it, and would make a result of an error.
fn refused(refusal: Refusal) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(refusal.into_text())]).into()
}

async fn search(Search { query, limit }: Search) -> Result<Matches, Refusal> {
    let gate = Settings::read(None)?.gate(run::POLL_INTERVAL)?;
    let found = in_time(gate.search(&SearchRequest { query, limit: limit.unwrap_or_default() })).await?;
    let count = found.results.len();
    let results = found.results.into_iter().map(Into::into).collect();
    Ok(Matches { results, query: found.query, count, incomplete: found.incomplete })
}

async fn inspect(Inspect { secret_name, vault }: Inspect) -> Result<Fields, Refusal> {
    let Named { name, vault, field: _ } = Named::read(&secret_name, vault, None)?;
    let gate = Settings::read(None)?.gate(run::POLL_INTERVAL)?;
    let known = in_time(gate.fields(&FieldsRequest { secret_name: name, vault })).await?;
    let fields = known.fields.into_iter().map(Into::into).collect();
    Ok(Fields { secret_name: known.secret_name, vault_name: known.vault_name, fields })
}

/// An answer of the server, before clients give up.
async fn in_time<T: Send>(answer: impl Future<Output = Result<T, ClientError>> + Send) -> Result<T, Refusal> {
    match tokio::time::timeout(LOOK_UP, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            Err(Refusal::with_hint("the secret-gate server does not answer", "Try again in a moment, or tell the user"))
        }
    }
}

async fn status() -> Result<DaemonStatus, Refusal> {
    Ok(match daemon::status().await? {
        None => DaemonStatus { socket_path: daemon::place()?, ..DaemonStatus::default() },
        Some(status) => DaemonStatus {
            running: true,
            uptime: humantime::format_duration(Duration::from_secs(status.uptime_seconds)).to_string().replace(' ', ""),
            entry_count: status.entry_count,
            socket_path: status.socket_path,
            pid: status.pid,
        },
    })
}

//! A gate as a tower layer: the service behind it takes jobs that come with the secret, so no job gets there without.
//!
//! `cargo run -p secret-gate-examples --example tower_guard`

use std::sync::Arc;

use secret_gate_core::{Error, Field, FieldKind, Gate, Item, MemoryBackend, Release, Request, TerminalApprover};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

struct Job {
    name: String,
}

/// What the guard lets through: there is no other way to get one.
struct ApprovedJob {
    job: Job,
    release: Release,
}

/// Asks a human about each job, and hands on those that they approve.
fn guarded(gate: Gate) -> impl Service<Job, Response = String, Error = BoxError> {
    let ask = move |job: Job| {
        let gate = gate.clone();
        async move {
            let request = Request::new("database").field("password").reason(&job.name);
            let release = gate.request(request).await?;
            Ok::<_, Error>(ApprovedJob { job, release })
        }
    };
    ServiceBuilder::new().filter_async(ask).service_fn(run)
}

async fn run(ApprovedJob { job, release }: ApprovedJob) -> Result<String, BoxError> {
    let password = release.value("password").ok_or("the item has no password")?;
    Ok(format!("{}: done with a password of {} bytes", job.name, password.len()))
}

fn vault() -> MemoryBackend {
    let password = Field::new("f1", "password", FieldKind::concealed(), "hunter2");
    MemoryBackend::new().with_vault("v1", "infra").with_item(Item::new("i1", "v1", "database").with_field(password))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let gate = Gate::builder(Arc::new(vault()), Arc::new(TerminalApprover::new())).build();
    let job = Job { name: "migrate the orders table".to_owned() };
    match guarded(gate).oneshot(job).await {
        Ok(done) => println!("{done}"),
        Err(refused) => println!("not done: {refused}"),
    }
}

#[cfg(test)]
mod tests {
    use secret_gate_core::{Decision, ScriptedApprover};

    use super::*;

    #[tokio::test]
    async fn a_yes_lets_one_job_through() {
        let human = ScriptedApprover::new().then(Decision::approve("Ann")).then(Decision::deny("Ann"));
        let gate = Gate::builder(Arc::new(vault()), Arc::new(human.clone())).build();
        let job = || Job { name: "migrate".to_owned() };
        let done = guarded(gate.clone()).oneshot(job()).await.unwrap();
        assert_eq!(done, "migrate: done with a password of 7 bytes");
        let refused = guarded(gate).oneshot(job()).await.unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(Error::Denied { by }) if by == "Ann"), "{refused:?}");
        assert_eq!(human.asked(1).await.question.said.reason.as_deref(), Some("migrate"));
    }
}

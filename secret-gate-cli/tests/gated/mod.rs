//! Our own server in the test's process, with a human who answers by a script.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, unreachable_pub, reason = "in tests, a failure is a panic")]

use std::sync::Arc;

use secret_gate_core::audit::{AuditEvent, MemoryAudit};
use secret_gate_core::{Decision, Field, FieldKind, Gate, Item, MemoryBackend, ScriptedApprover};
use secret_gate_server::Server as GateServer;

use crate::support::Machine;

/// Our own server in this process, with a human who answers by a script.
pub struct Gated {
    pub url: String,
    pub gate: Gate,
    pub human: ScriptedApprover,
    pub audit: MemoryAudit,
}

impl Gated {
    pub async fn start(human: ScriptedApprover) -> Self {
        Self::with(human, "no key").await
    }

    /// With this SSH key in an item of its own.
    pub async fn with(human: ScriptedApprover, key: &str) -> Self {
        let field = |name: &str, value: &str| Field::new(name, name, FieldKind::concealed(), value);
        let item = |id: &str, title: &str| {
            let item = Item::new(id, "v1", title);
            item.with_field(field("password", "s3cret-value")).with_field(Field::new(
                "user",
                "user",
                FieldKind::text(),
                "ann",
            ))
        };
        let vault =
            MemoryBackend::new().with_vault("v1", "infra").with_item(item("i1", "db")).with_item(item("i2", "web"));
        let login =
            Item::new("i3", "v1", "deploy-key").with_field(Field::new("user", "user", FieldKind::text(), "ann"));
        let vault = vault.with_item(login.with_field(Field::new("key", "private key", FieldKind::ssh_key(), key)));
        Self::over(human, vault).await
    }

    /// With this vault.
    pub async fn over(human: ScriptedApprover, vault: MemoryBackend) -> Self {
        let audit = MemoryAudit::new();
        let gate = Gate::builder(Arc::new(vault), Arc::new(human.clone())).audit(Arc::new(audit.clone())).build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = GateServer::new(gate.clone(), &url);
        tokio::spawn(server.serve(listener, std::future::pending()));
        Self { url, gate, human, audit }
    }

    pub fn machine(&self) -> Machine {
        Machine::new().with("SECRET_GATE_URL", &self.url).with_daemon()
    }

    pub fn asked(&self) -> usize {
        self.audit.events().iter().filter(|event| **event == AuditEvent::Asked).count()
    }
}

pub fn approving(times: usize) -> ScriptedApprover {
    (0..times).fold(ScriptedApprover::new(), |human, _| human.then(Decision::approve("Ann")))
}

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secret_gate_core::audit::{AuditAnchor, AuditEntry, AuditError, AuditLog};
use secret_gate_core::conformance;

use super::caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum AuditFault {
    LosesSome,
    KeepsLater,
    NewestFirst,
    BreaksLines,
    TearsLines,
    LeavesOutWho,
    RepeatsAnAnchor,
    Fails,
}

#[derive(Debug, Clone)]
struct BrokenAudit {
    fault: AuditFault,
    text: Arc<Mutex<String>>,
}

#[async_trait]
impl AuditLog for BrokenAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        let mut line = serde_json::to_string(entry).unwrap();
        let text = || self.text.lock().unwrap();
        match self.fault {
            AuditFault::Fails => return Err(std::io::Error::other("disk full").into()),
            AuditFault::LosesSome if text().lines().count() == 20 => return Ok(None),
            AuditFault::LeavesOutWho => line = line.replace("Ann", "someone"),
            AuditFault::BreaksLines => line = line.replace("\\n", "\n"),
            AuditFault::NewestFirst => {
                text().insert_str(0, &format!("{line}\n"));
                return Ok(None);
            }
            AuditFault::KeepsLater => {
                let text = Arc::clone(&self.text);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    text.lock().unwrap().push_str(&format!("{line}\n"));
                });
                return Ok(None);
            }
            AuditFault::TearsLines => {
                let (start, end) = line.split_at(10);
                text().push_str(start);
                tokio::task::yield_now().await;
                text().push_str(&format!("{end}\n"));
                return Ok(None);
            }
            _ => {}
        }
        text().push_str(&format!("{line}\n"));
        Ok((self.fault == AuditFault::RepeatsAnAnchor).then(|| "7:3f2a91c04b7d6e55".parse().unwrap()))
    }
}

#[tokio::test]
async fn audit_logs() {
    use AuditFault::*;
    let faults = [
        (LosesSome, "entries that are appended at once are all kept"),
        (KeepsLater, "an entry is kept in its order, once, before `append` returns"),
        (NewestFirst, "an entry is kept in its order"),
        (BreaksLines, "each line is a JSON object"),
        (TearsLines, "each line is a JSON object"),
        (LeavesOutWho, "an entry is kept whole: by is"),
        (RepeatsAnAnchor, "a later line has an anchor of a higher position"),
        (Fails, "an entry can be appended"),
    ];
    for (fault, rule) in faults {
        let log = BrokenAudit { fault, text: Arc::default() };
        let text = Arc::clone(&log.text);
        caught(rule, conformance::audit::all(&log, &|| text.lock().unwrap().clone())).await;
    }
}

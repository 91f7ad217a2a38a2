//! The last line: how the question ended.

use super::visible::{clamped, shown};
use super::{Line, duration};
use crate::Grant;
use crate::approver::{Approval, Outcome};

/// Who decided is shown up to this many UTF-16 code units.
const BY_LIMIT: usize = 80;

pub(super) fn line(outcome: &Outcome) -> Line {
    match outcome {
        Outcome::Approved(approval) => approved(Line::of("✅ "), "Approved by ", approval),
        Outcome::Denied { by } => Line::of("❌ ").bold("Denied by ").code(clamped(by, BY_LIMIT)),
        Outcome::Expired { unused: None } => Line::of("⌛ ").bold("Expired").plain(", nobody answered in time"),
        Outcome::Expired { unused: Some(approval) } => {
            approved(Line::of("⌛ ").bold("Expired").plain(", although "), "approved by ", approval)
        }
        Outcome::Withdrawn => Line::of("↩ ").bold("Withdrawn").plain(" by the requester"),
        Outcome::Released(approval) => approved(Line::of("📤 ").bold("Released").plain(", "), "approved by ", approval),
        Outcome::Revoked(approval) => {
            approved(Line::of("🚫 ").bold("Revoked").plain(", had been "), "approved by ", approval)
        }
    }
}

fn approved(line: Line, words: &str, approval: &Approval) -> Line {
    let line = line.bold(words).code(clamped(&approval.by, BY_LIMIT));
    let line = match &approval.grant {
        None => line,
        Some(Grant { once: true, .. }) => line.plain(" for one use"),
        Some(grant) => {
            let lasts = grant.expires_at.duration_since(approval.at).unwrap_or_default();
            line.plain(format!(" for {}", duration(lasts)))
        }
    };
    match &approval.audit {
        None => line,
        Some(anchor) => line.plain(" · audit ").code(shown(&anchor.to_string())),
    }
}

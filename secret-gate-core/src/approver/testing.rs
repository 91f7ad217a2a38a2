//! What the approvers' tests share: questions, and a ballot box that a test controls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Approval, AskedField, AskedItem, Ballot, BallotBox, CastError, Outcome, Question, Said};
use crate::sync::lock;
use crate::{Decision, RequestId, Requester, Use, Verdict};

pub(crate) fn question(id: &str) -> Question {
    let asked_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Question {
        id: RequestId::from(id.to_owned()),
        items: vec![AskedItem {
            ids: None,
            title: "prod-deploy-key".into(),
            vault: "infra".into(),
            fields: vec![AskedField { name: "private_key".into(), is_seed: false }],
        }],
        requester: Requester::with_key("build-vm-3", true).at("10.0.0.7"),
        intended_use: Some(Use::any_command()),
        keep: Some(Duration::from_secs(3600)),
        said: Said { reason: Some("deploy".into()), ..Said::default() },
        asked_at,
        expires_at: asked_at + Duration::from_secs(900),
        audit: "4711:3f2a91c04b7d6e55".parse().ok(),
    }
}

/// Takes the first decision on each question, unless a test says otherwise.
#[derive(Debug, Default)]
pub(crate) struct FirstCounts {
    cast: Mutex<HashMap<RequestId, Outcome>>,
    failures: Mutex<Vec<CastError>>,
    pub(crate) decisions: watch::Sender<Vec<Decision>>,
}

impl FirstCounts {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn ballot(self: &Arc<Self>, id: &str) -> Ballot {
        Ballot::new(RequestId::from(id.to_owned()), Arc::clone(self) as Arc<dyn BallotBox>)
    }

    /// The next cast fails like this.
    pub(crate) fn fail_next(&self, error: CastError) {
        lock(&self.failures).push(error);
    }

    pub(crate) async fn decisions(&self, count: usize) -> Vec<Decision> {
        let mut decisions = self.decisions.subscribe();
        let wait = decisions.wait_for(|decisions| decisions.len() >= count);
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a decision").expect("a sender").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.decisions.borrow().len()
    }
}

#[async_trait]
impl BallotBox for FirstCounts {
    async fn cast(self: Arc<Self>, id: RequestId, decision: Decision) -> Result<Outcome, CastError> {
        if let Some(error) = lock(&self.failures).pop() {
            return Err(error);
        }
        if let Some(before) = lock(&self.cast).get(&id) {
            return Err(CastError::Ended(Box::new(before.clone())));
        }
        let outcome = outcome_of(&decision);
        lock(&self.cast).insert(id, outcome.clone());
        self.decisions.send_modify(|decisions| decisions.push(decision));
        Ok(outcome)
    }
}

pub(crate) fn outcome_of(decision: &Decision) -> Outcome {
    let by = decision.by.clone();
    match decision.verdict {
        Verdict::Approve(_) => Outcome::Approved(Approval { by, grant: None, at: SystemTime::UNIX_EPOCH, audit: None }),
        Verdict::Deny => Outcome::Denied { by },
    }
}

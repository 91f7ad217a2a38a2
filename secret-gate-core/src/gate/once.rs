//! The whole way in one call, for programs that embed the gate.

use std::time::Duration;

use crate::approver::Outcome;
use crate::cache::{CacheKey, Lease};
use crate::gate::Gate;
use crate::gate::pin::Pin;
use crate::gate::release::Release;
use crate::gate::request::Request;
use crate::{Error, Use};

/// How long one look at the request lasts while waiting; the wait goes on until the request ends.
const WAIT: Duration = Duration::from_secs(60);
/// How long to wait before an approved secret is read again that could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

impl Gate {
    /// Asks, waits for the decision and releases, in one call. If the caller goes away meanwhile, the question is
    /// withdrawn.
    ///
    /// It waits until somebody decides, at most for the [`request_ttl`](crate::GateBuilder::request_ttl), 15 minutes
    /// unless said otherwise; to wait for less, put a timeout around it. While the backend gives no answer to what was
    /// approved, it is read again every 2 seconds until that time is up.
    ///
    /// The approver may still be showing how it ended when this returns. A program that ends then calls
    /// [`settle`](Self::settle) and, with a `TelegramApprover`, `approver.stop()` first, and waits for both; else the last
    /// change of the message may be lost.
    ///
    /// With a [`Cache`](crate::Cache), a request with an intended use for items that the same requester holds under a
    /// grant that covers it is answered from there: nobody is asked, and the audit log, which has the release that the
    /// cache got the values from, gets no further entry.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::Expired`] when nobody decided in time, or what was approved could not be read in time;
    /// [`Error::NotApproved`] when it was revoked or withdrawn by others, or its time ended while it was read; and whatever [`submit`](Self::submit) and
    /// [`redeem`](Self::redeem) say.
    pub async fn request(&self, request: Request) -> Result<Release, Error> {
        let scope = request.requester.identity();
        let pins = self.inner.resolve_all(&request).await?;
        if let Some(release) = self.kept(&scope, request.intended_use.as_ref(), &pins) {
            return Ok(release);
        }
        let question = self.ask(request, pins).await?;
        let token = question.token()?;
        let release = loop {
            match self.wait(token, WAIT).await?.outcome {
                None => {}
                Some(Outcome::Approved(_)) => match self.redeem(token).await {
                    // the token is unspent: what has been approved is worth another try, until it lapses
                    Err(Error::Backend { source }) => {
                        tracing::warn!(error = %source, "the approved secret can't be read; trying again");
                        self.inner.sleep(RETRY_PAUSE).await;
                    }
                    redeemed => break redeemed?,
                },
                Some(Outcome::Denied { by }) => return Err(Error::Denied { by }),
                Some(Outcome::Expired { .. }) => return Err(Error::Expired),
                Some(Outcome::Released(_)) => return Err(Error::AlreadyUsed),
                Some(Outcome::Withdrawn | Outcome::Revoked(_)) => return Err(Error::NotApproved),
            }
        };
        question.close();
        self.keep(&scope, &release);
        Ok(release)
    }

    fn kept(&self, scope: &str, wanted: Option<&Use>, pins: &[Pin]) -> Option<Release> {
        let (inner, wanted) = (&self.inner, wanted?);
        let mut release = Release { items: Vec::new(), grant: None, fields_named: false };
        for pin in pins {
            let key = CacheKey::new(scope, &pin.vault.id, &pin.item_id);
            let lease = inner.cache.get(&key)?;
            let covered = lease.grant.covers(wanted, inner.clock.now()) && lease.item.revision == pin.revision;
            let item = covered.then(|| pin.pick(&lease.item)).flatten()?;
            release.items.push(item);
            release.fields_named |= pin.fields_named;
            let ends_first = release.grant.as_ref().is_none_or(|grant| lease.grant.expires_at < grant.expires_at);
            release.grant = if ends_first { Some(lease.grant.clone()) } else { release.grant };
        }
        Some(release)
    }

    fn keep(&self, scope: &str, release: &Release) {
        let Some(grant) = release.grant.as_ref().filter(|grant| !grant.once) else { return };
        for item in &release.items {
            let key = CacheKey::new(scope, &item.vault_id, &item.item_id);
            if let Err(error) = self.inner.cache.put(key, Lease::new(item.copy(), grant.clone())) {
                tracing::warn!(%error, "the next use asks again");
            }
        }
    }
}

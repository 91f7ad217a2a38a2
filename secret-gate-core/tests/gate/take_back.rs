//! Taking back all that somebody asked.

use super::*;

fn by(name: &str) -> Requester {
    Requester::with_key(name, false).at("203.0.113.9")
}

impl TestGate {
    async fn submit_by(&self, name: &str) -> Submitted {
        self.gate.submit(Request::new("database").by(by(name))).await.unwrap()
    }

    async fn approved_by(&self, name: &str) -> Token {
        let submitted = self.submit_by(name).await;
        self.decide(&submitted, Decision::approve("Ann")).await.unwrap();
        submitted.token
    }

    async fn take_back_of(&self, name: &str) -> usize {
        self.gate.take_back_where(|requester| requester.key_name.as_deref() == Some(name)).await
    }
}

#[tokio::test]
async fn what_a_requester_asked_is_taken_back_and_nothing_else() {
    let test = TestGate::new(ScriptedApprover::new());
    let (pending, approved) = (test.submit_by("mallory").await, test.approved_by("mallory").await);
    let released = test.approved_by("mallory").await;
    test.gate.redeem(&released).await.unwrap();
    let kept = Request::new("database").for_use(Use::any_command()).by(by("mallory"));
    let granted = test.gate.submit(kept).await.unwrap();
    test.decide(&granted, Decision::approve("Ann")).await.unwrap();
    assert!(test.gate.redeem(&granted.token).await.unwrap().grant.is_some());
    let others = [test.submit_by("ann").await, test.submit("database").await];

    assert_eq!(test.take_back_of("mallory").await, 3);
    assert!(matches!(test.outcome(&pending.token), Some(Outcome::Withdrawn)));
    assert!(matches!(test.decide(&pending, Decision::approve("Ann")).await, Err(CastError::Ended(_))));
    assert!(matches!(test.outcome(&approved), Some(Outcome::Revoked(_))));
    assert!(matches!(test.gate.redeem(&approved).await, Err(Error::NotApproved)));
    assert!(matches!(test.outcome(&granted.token), Some(Outcome::Revoked(_))), "its grant lived on");
    assert!(matches!(test.outcome(&released), Some(Outcome::Released(_))), "nothing was left of it");
    for other in &others {
        assert!(test.outcome(&other.token).is_none());
    }
    let revoked = test.audit.entries().iter().filter(|entry| entry.event == AuditEvent::Revoked).count();
    assert_eq!(revoked, 2);
    assert_eq!(test.take_back_of("mallory").await, 0, "once is enough");
}

#[tokio::test]
async fn one_that_is_being_released_holds_up_no_other() {
    let test = TestGate::new(ScriptedApprover::new());
    let (token, pending) = (test.approved_by("mallory").await, test.submit_by("mallory").await);
    test.leave_during_the_release(&token).await;
    let mut taking_back = Box::pin(test.take_back_of("mallory"));
    tokio::select! {
        _ = &mut taking_back => panic!("the release has not come to its end"),
        standing = test.gate.wait(&pending.token, TTL / 2) => {
            assert!(matches!(standing.unwrap().outcome, Some(Outcome::Withdrawn)));
        }
    }
    test.vaults.reads.add_permits(1);
    assert_eq!(taking_back.await, 2);
    assert!(matches!(test.outcome(&token), Some(Outcome::Revoked(_))));
}

//! What the gate itself costs: finding a name among many, and one request from question to release. Everything is in
//! memory, so no vault and no phone is measured.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use secret_gate_core::{Decision, Field, FieldKind, Gate, Item, MemoryBackend, Release, Request, ScriptedApprover};
use tokio::runtime::{Builder, Runtime};

const TITLES: usize = 10_000;
const WHOLE_TITLE: &str = "service-00000-password";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A gate before this many items; it leaves every question to the caller.
fn gate(items: usize) -> Gate {
    let vault = MemoryBackend::new().with_vault("v", "infra");
    for n in 1..items {
        vault.put(Item::new(n.to_string(), "v", format!("service-{n:05}-password")));
    }
    // only the item that is read has a value: each takes memory pages of its own
    let password = Field::new("f", "password", FieldKind::concealed(), "hunter2");
    vault.put(Item::new("0", "v", WHOLE_TITLE).with_field(password));
    Gate::builder(Arc::new(vault), Arc::new(ScriptedApprover::new())).build()
}

fn names(criterion: &mut Criterion) {
    let (runtime, gate) = (runtime(), gate(TITLES));
    let mut group = criterion.benchmark_group("10 000 titles");
    for (what, query) in [("a prefix", "service-00"), ("scattered letters", "srvc9pw"), ("nothing", "zzz")] {
        group.bench_function(format!("search for {what}"), |bencher| {
            bencher.to_async(&runtime).iter(|| gate.search(black_box(query), 10));
        });
    }
    group.bench_function("resolve a whole title", |bencher| {
        bencher.to_async(&runtime).iter(|| gate.fields(black_box(WHOLE_TITLE), None));
    });
    group.finish();
}

fn once(criterion: &mut Criterion) {
    let runtime = runtime();
    criterion.bench_function("submit, decide, redeem", |bencher| {
        // a gate remembers what it released for a while, so each round gets a new one
        bencher.to_async(&runtime).iter_batched(|| gate(1), request, BatchSize::SmallInput);
    });
}

async fn request(gate: Gate) -> Release {
    let asked = gate.submit(Request::new(WHOLE_TITLE)).await.expect("the question is asked");
    gate.decide(&asked.request_id, Decision::approve("Ann")).await.expect("the decision counts");
    gate.redeem(&asked.token).await.expect("the value is released")
}

criterion_group!(benches, names, once);
criterion_main!(benches);

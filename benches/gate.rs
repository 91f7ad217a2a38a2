//! What the gate itself costs: finding a name among many, one request from question to release, alone and in a crowd, what
//! is kept, and what goes over the wire. Everything is in
//! memory, so no vault and no phone is measured.

use std::hint::black_box;
use std::sync::{Arc, Weak};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use secret_gate_core::cache::{CacheKey, Lease};
use secret_gate_core::clock::{Clock, ManualClock};
use secret_gate_core::wire::{AccessRequest, Status, StatusResponse};
use secret_gate_core::{
    Cache as _, Decision, Field, FieldKind, Gate, Grant, Item, MemoryBackend, MemoryCache, Release, ReleasedItem,
    Request, ScriptedApprover, Use,
};
use tokio::runtime::{Builder, Runtime};

const TITLES: usize = 10_000;
const ENTRIES: usize = 100_000;
const PENDING: usize = 10_000;
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

/// Items that were released, without values: those take memory pages of their own.
fn released(runtime: &Runtime, count: usize) -> Vec<ReleasedItem> {
    let vault = MemoryBackend::new().with_vault("v", "infra").with_item(Item::new("0", "v", WHOLE_TITLE));
    let gate = Gate::builder(Arc::new(vault), Arc::new(ScriptedApprover::new())).build();
    runtime.block_on(async {
        let mut items = Vec::with_capacity(count);
        while items.len() < count {
            items.append(&mut request(gate.clone()).await.items);
        }
        items
    })
}

fn cache(criterion: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let clock = Arc::new(ManualClock::new());
    let cache = MemoryCache::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let key = |number: usize| CacheKey::new("https://gate.example", "v", number.to_string());
    let put = |number: usize, item: ReleasedItem, lasts: Duration| {
        let grant = Grant::new("g", Use::any_command(), clock.now() + lasts, false);
        cache.put(key(number), Lease::new(item, grant)).expect("room");
    };
    let hour = Duration::from_secs(3_600);
    for (number, item) in released(&runtime, ENTRIES).into_iter().enumerate() {
        put(number, item, hour);
    }
    let mut group = criterion.benchmark_group("cache of 100 000");
    group.sample_size(10);
    group.bench_function("get", |bencher| bencher.iter(|| cache.get(black_box(&key(ENTRIES / 2))).is_some()));
    group.bench_function("put one more and remove it", |bencher| {
        let one_more = || released(&runtime, 1).swap_remove(0);
        let turn = |item| {
            put(ENTRIES, item, hour);
            cache.remove(&key(ENTRIES))
        };
        bencher.iter_batched(one_more, turn, BatchSize::SmallInput);
    });
    group.bench_function("1 000 more expire", |bencher| {
        let thousand = || {
            let keep = |(number, item)| {
                put(ENTRIES + number, item, Duration::from_millis(1));
                cache.get(&key(ENTRIES + number)).map(|lease| Arc::downgrade(&lease))
            };
            released(&runtime, 1_000).into_iter().enumerate().filter_map(keep).collect::<Vec<_>>()
        };
        // until each is dropped: to list what is left would cost more than the expiry
        let expire = |leases: Vec<Weak<Lease>>| {
            runtime.block_on(async {
                clock.advance(Duration::from_millis(1));
                for lease in &leases {
                    while lease.strong_count() > 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        };
        bencher.iter_batched(thousand, expire, BatchSize::PerIteration);
    });
    group.finish();
}

/// One request's life while ten thousand others wait.
fn crowd(criterion: &mut Criterion) {
    let runtime = runtime();
    let vault = MemoryBackend::new().with_vault("v", "infra");
    vault.put(Item::new("0", "v", WHOLE_TITLE).with_field(Field::new(
        "f",
        "password",
        FieldKind::concealed(),
        "hunter2",
    )));
    let gate =
        Gate::builder(Arc::new(vault), Arc::new(ScriptedApprover::new())).max_pending(usize::MAX, usize::MAX).build();
    runtime.block_on(async {
        for _ in 0..PENDING {
            gate.submit(Request::new(WHOLE_TITLE)).await.expect("the question is asked");
        }
    });
    criterion.bench_function("submit, decide, redeem beside 10 000 pending", |bencher| {
        bencher.to_async(&runtime).iter(|| request(gate.clone()));
    });
}

fn wire(criterion: &mut Criterion) {
    let body =
        r#"{"secrets":[{"secret_name":"db","vault":"infra","fields":["password"]}],"use":{"exec":"any"},"reason":"x"}"#;
    criterion.bench_function("read a request off the wire", |bencher| {
        bencher.iter(|| serde_json::from_str::<AccessRequest>(black_box(body)).expect("a request"));
    });
    let answer = StatusResponse {
        status: Status::Pending,
        message: "waiting".to_owned(),
        secret_url: None,
        grant: None,
        ended: None,
    };
    criterion.bench_function("write a status", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&answer)).expect("JSON"));
    });
}

criterion_group!(benches, names, once, cache, crowd, wire);
criterion_main!(benches);

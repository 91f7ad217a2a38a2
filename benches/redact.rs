//! How fast values are taken out of the output of commands.
//!
//! Log text looks least like values, base64 and hexadecimal numbers most. JSON is full of quotes, which are read twice.
//! Values of 20 to 128 bytes are found in pieces as well; others only whole.

use std::fmt::Write as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use data_encoding::BASE64;
use secret_gate_core::SecretValue;
use secret_gate_core::exec::Redactor;

/// How much is filtered in one go, in bytes.
const SIZE: usize = 4 * 1024 * 1024;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }
}

fn log() -> Vec<u8> {
    let (mut text, mut numbers) = (String::new(), Numbers(1));
    while text.len() < SIZE {
        let (a, b, c) = (numbers.next(), numbers.next(), numbers.next());
        let level = ["INFO", "WARN", "DEBUG"].into_iter().cycle().nth((a % 3) as usize).unwrap();
        let second = b % 60;
        writeln!(text, "2026-01-02T03:04:{second:02}.{:03}Z {level} service::worker{}: request {a:012x} took {} ms, user=ann path=/v1/items/{c}", b % 1000, a % 16, c % 5000).unwrap();
    }
    text.into_bytes()
}

fn base64() -> Vec<u8> {
    let mut numbers = Numbers(2);
    let bytes: Vec<u8> = (0..SIZE * 3 / 4).map(|_| (numbers.next() >> 24) as u8).collect();
    let encoded = BASE64.encode(&bytes);
    let lines = encoded.as_bytes().chunks(76);
    lines.flat_map(|line| line.iter().chain(b"\n")).copied().collect()
}

fn json() -> Vec<u8> {
    let (mut text, mut numbers) = (String::new(), Numbers(4));
    while text.len() < SIZE {
        let (a, b) = (numbers.next(), numbers.next());
        writeln!(text, r#"{{"time":"2026-01-02T03:04:{:02}Z","level":"info","user":"ann","path":"/v1/items/{a}","took_ms":{},"message":"said \\"hello\\" to {b:x}"}}"#, a % 60, b % 5000).unwrap();
    }
    text.into_bytes()
}

fn hex() -> Vec<u8> {
    let (mut text, mut numbers) = (String::new(), Numbers(5));
    let mut offset = 0;
    while text.len() < SIZE {
        write!(text, "{offset:08x}: ").unwrap();
        (0..8).for_each(|_| write!(text, "{:04x} ", numbers.next() & 0xffff).unwrap());
        writeln!(text, " ................").unwrap();
        offset += 16;
    }
    text.into_bytes()
}

/// Values of so many bytes.
fn values(count: usize, length: usize) -> Vec<SecretValue> {
    let mut numbers = Numbers(3);
    let value = |_| {
        let text = format!("tok_{:012x}{:012x}{:012x}", numbers.next(), numbers.next(), numbers.next());
        SecretValue::new(text.chars().take(length).collect::<String>())
    };
    (0..count).map(value).collect()
}

fn redactor(values: &[SecretValue]) -> Redactor {
    Redactor::new(values.iter().enumerate().map(|(at, value)| (format!("v/{at}"), value))).unwrap()
}

const SORTS: [(&str, usize); 2] = [("whole", 16), ("in pieces", 28)];

fn redact(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("redact");
    group.sample_size(10).throughput(Throughput::Bytes(SIZE as u64));
    for (name, text) in [("log text", log()), ("base64", base64()), ("JSON", json()), ("hex dump", hex())] {
        for (sort, length) in SORTS {
            for count in [1, 10, 100] {
                let redactor = redactor(&values(count, length));
                group.bench_function(format!("{name}, {count} values, {sort}"), |bencher| {
                    bencher.iter(|| {
                        let mut stream = redactor.stream();
                        let shown: usize = text.chunks(64 * 1024).map(|piece| stream.push(piece).len()).sum();
                        shown + stream.finish().len()
                    });
                });
            }
        }
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for (sort, length) in SORTS {
        for count in [1, 10, 100] {
            let values = values(count, length);
            group.bench_function(format!("{count} values, {sort}"), |bencher| bencher.iter(|| redactor(&values)));
        }
    }
    group.finish();
}

criterion_group!(benches, redact, build);
criterion_main!(benches);

//! How much output a second is redacted; criterion's bench `redact` has the details.

use std::time::Instant;

use secret_gate_core::SecretValue;
use secret_gate_core::exec::Redactor;

use crate::Outcome;
use crate::figures::Figure;

const SIZE: usize = 64 * 1024 * 1024;

pub(crate) fn measure() -> Outcome<Vec<Figure>> {
    let line =
        "2026-01-02T03:04:05.006Z INFO service::worker3: request 0badcafe0001 took 5 ms, user=ann path=/v1/items/7\n";
    let log: Vec<u8> = line.bytes().cycle().take(SIZE).collect();
    let mut copied = Vec::with_capacity(SIZE);
    let start = Instant::now();
    copied.extend_from_slice(&log);
    let copy = rate(copied.len(), start);
    let mut figures = Vec::new();
    for (name, count, length, target) in [
        ("redaction of log text, 1 value without pieces", 1, 16, 1_000.0),
        ("redaction of log text, 1 value with pieces", 1, 40, 100.0),
        ("redaction of log text, 100 values without pieces", 100, 16, 100.0),
    ] {
        let values: Vec<_> = (0..count).map(|at| SecretValue::new(format!("{at:0length$x}"))).collect();
        let start = Instant::now();
        let redactor = Redactor::new(values.iter().map(|value| ("item/field".to_owned(), value)))?;
        let built = start.elapsed();
        let mut stream = redactor.stream();
        let start = Instant::now();
        let shown: usize = log.chunks(64 * 1024).map(|piece| stream.push(piece).len()).sum();
        let shown = shown + stream.finish().len();
        if shown != log.len() {
            return Err("something was redacted that was no secret".into());
        }
        figures.push(Figure::new(name, "MB/s", [rate(log.len(), start)]).target(target).floor(copy, "copying"));
        figures.push(Figure::ms("  building it", &[built]).target(10.0));
    }
    Ok(figures)
}
fn rate(bytes: usize, since: Instant) -> f64 {
    bytes as f64 / 1e6 / since.elapsed().as_secs_f64()
}

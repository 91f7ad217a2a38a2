//! What was measured: how often, how long, and how fast this machine could have been.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// One figure of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    name: &'static str,
    unit: &'static str,
    /// Sorted.
    samples: Vec<f64>,
    /// What is wanted.
    target: Option<f64>,
    /// What the machine could do at best, measured in the same run, and by what.
    floor: Option<(f64, &'static str)>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: &'static str, samples: impl IntoIterator<Item = f64>) -> Self {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        Self { name, unit, samples, target: None, floor: None }
    }

    /// Of durations, in milliseconds.
    pub(crate) fn ms(name: &'static str, samples: &[Duration]) -> Self {
        Self::new(name, "ms", samples.iter().map(|sample| sample.as_secs_f64() * 1e3))
    }

    pub(crate) fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub(crate) fn floor(mut self, floor: f64, by: &'static str) -> Self {
        self.floor = Some((floor, by));
        self
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
    fn quantile(&self, part: f64) -> f64 {
        let last = self.samples.len().saturating_sub(1);
        self.samples.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit, "samples": self.samples.len(), "median": self.median(),
            "min": self.quantile(0.0), "p95": self.quantile(0.95), "max": self.quantile(1.0), "target": self.target,
            "machine": self.floor.map(|(limit, by)| json!({"limit": limit, "by": by})),
        })
    }
}

/// Times `work` so many times, after once for nothing.
pub(crate) async fn times<F>(count: usize, mut work: impl FnMut() -> F) -> Outcome<Vec<Duration>>
where
    F: Future<Output = Outcome<()>>,
{
    work().await?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        work().await?;
        took.push(start.elapsed());
    }
    Ok(took)
}

/// The table, for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<58} {:>11} {:>11} {:>11} {:>9}  {}\n",
        "figure (median of the samples)", "median", "min", "p95", "target", "the machine, in the same run"
    );
    for figure in figures {
        let target = figure.target.map_or_else(String::new, number);
        let machine = figure.floor.map_or_else(String::new, |(limit, by)| format!("{} {by}", number(limit)));
        text += &format!(
            "{:<58} {:>11} {:>11} {:>11} {target:>9}  {machine}\n",
            format!("{}, {}", figure.name, figure.unit),
            number(figure.median()),
            number(figure.quantile(0.0)),
            number(figure.quantile(0.95)),
        );
    }
    text
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e5 => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

/// The same for programs.
pub(crate) fn document(figures: &[Figure]) -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cores": cores, "figures": figures.iter().map(Figure::as_json).collect::<Vec<_>>() })
}

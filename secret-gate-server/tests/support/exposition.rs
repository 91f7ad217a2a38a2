//! The Prometheus text format, version 0.0.4, read strictly: what is not exactly so fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: name and labels, sorted by label.
pub type Series = (String, BTreeMap<String, String>);

/// Everything that a server counts, at one time.
#[derive(Debug, Default)]
pub struct Exposition {
    pub samples: BTreeMap<Series, f64>,
    /// `counter`, `gauge` or `histogram` of each family.
    pub kinds: BTreeMap<String, String>,
}

impl Exposition {
    /// The value of a sample, its labels as `name=value` separated by commas.
    pub fn get(&self, name: &str, labels: &str) -> f64 {
        let wanted = (name.to_owned(), pairs(labels));
        *self.samples.get(&wanted).unwrap_or_else(|| panic!("no {name} {labels} in {self:#?}"))
    }

    /// The samples of all counters.
    pub fn counters(&self) -> BTreeMap<Series, f64> {
        let is_counter = |name: &String| self.kinds.get(name).is_some_and(|kind| kind == "counter");
        self.samples.iter().filter(|((name, _), _)| is_counter(name)).map(|(at, value)| (at.clone(), *value)).collect()
    }

    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').unwrap();
                assert!(!text.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helped.contains(name), "no help before {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(all.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                family = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let series = series_of(series);
                let kind = &all.kinds[&family];
                let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.iter().any(|suffix| series.0 == format!("{family}{suffix}")), "stray: {line}");
                let is_whole = value.bytes().all(|byte| byte.is_ascii_digit());
                let value: f64 = value.parse().unwrap();
                assert!(value >= 0.0 && value.is_finite() && (kind != "counter" || is_whole), "{line}");
                assert!(all.samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        all.check_histograms();
        all
    }

    /// Buckets go up, and the last holds all.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), count) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket") else { continue };
            let mut labels = labels.clone();
            let upper: f64 = labels.remove("le").expect("an upper end").parse().unwrap();
            buckets.entry((family.to_owned(), labels)).or_default().push((upper, *count));
        }
        for ((family, labels), mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family}: {buckets:?}");
            let (upper, count) = *buckets.last().unwrap();
            assert!(upper.is_infinite(), "{family}: {buckets:?}");
            assert!(self.samples.contains_key(&(format!("{family}_sum"), labels.clone())), "{family}");
            assert!((self.samples[&(format!("{family}_count"), labels)] - count).abs() < 0.5, "{family}");
        }
    }
}

/// `name=value` pairs, separated by commas.
pub fn pairs(labels: &str) -> BTreeMap<String, String> {
    let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

fn series_of(text: &str) -> Series {
    let (name, labels) = match text.split_once('{') {
        None => (text, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap()),
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(!name.is_empty() && is_name(name), "{text}");
    let mut all = BTreeMap::new();
    for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once('=').unwrap();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
        assert!(is_name(label) && !value.is_empty() && !value.contains(['"', '\\']), "{text}");
        assert!(all.insert(label.to_owned(), value.to_owned()).is_none(), "{text}");
    }
    (name.to_owned(), all)
}

//! What dashboards and alerts ask for is what the crate emits, under the names they ask for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod exposition;
mod promql;
mod promtool;
mod workload;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use evenkeel::observe::metrics::buckets;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::Value;

use exposition::Exposition;
use promql::Selector;

/// What the workload leaves at the exporter that the guide recommends.
fn emitted() -> String {
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    let builder = buckets::all().fold(builder, |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds).unwrap()
    });
    let recorder = builder.build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(workload::run()));
    recorder.handle().render()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability").join(name)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Every query of the dashboard.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
                Some(query) if name == "expr" || name == "query" => found.push(query.to_owned()),
                _ => collect(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&read(shipped("grafana-dashboard.json"))).unwrap(), &mut found);
    found.retain(|query| query != "prometheus");
    found
}

/// Every expression of the alert rules, whose lines end where the next key begins.
fn rules() -> Vec<String> {
    let text = read(shipped("alerts.yml"));
    let expressions = text.split("expr:").skip(1);
    expressions.map(|rest| rest.split("\n        labels:").next().unwrap().to_owned()).collect()
}

#[test]
fn every_metric_that_dashboard_and_alerts_ask_for_is_emitted_with_its_labels() {
    let exposition = Exposition::parse(&emitted());
    let queries = [dashboard(), rules()].concat();
    assert!(queries.len() > 60, "{} queries were found", queries.len());
    let missing: Vec<String> = queries
        .iter()
        .flat_map(|query| promql::selectors(query))
        .flat_map(|selector| missing(&exposition, &selector))
        .collect();
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

fn missing(exposition: &Exposition, selector: &Selector) -> Vec<String> {
    let Selector { metric, matchers, by } = selector;
    let Some(labels) = exposition.labels(metric) else {
        return vec![format!("{metric} is not emitted")];
    };
    let unknown = |label: &&String| !labels.contains_key(*label);
    let mut missing: Vec<String> =
        by.iter().filter(unknown).map(|label| format!("{metric} has no label {label}")).collect();
    for (label, values) in matchers {
        let known = labels.get(label).cloned().unwrap_or_default();
        let absent = values.iter().filter(|value| !known.contains(*value));
        missing.extend(absent.map(|value| format!("{metric} was never of {label}={value:?}")));
    }
    missing
}

/// What is described and never seen is a promise; what is seen and on no panel is in nobody's way.
#[test]
fn everything_that_is_emitted_is_described_and_of_few_values() {
    let text = emitted();
    let exposition = Exposition::parse(&text);
    for metric in exposition.families() {
        assert!(text.contains(&format!("# HELP {metric} ")), "{metric} has no description");
    }
    for (metric, label, values) in exposition.all_labels() {
        assert!(values.len() <= 65, "{metric} has {} values of {label}", values.len());
    }
    assert!(!text.contains("secret-tenant"), "tenants are in no label unless asked for");
    assert!(!text.contains("made-up-model"), "models that callers make up are in no label");
    assert!(text.contains("tenant=\"acme\""), "where they are asked for, they are");
}

#[test]
fn the_exposition_is_to_promtools_liking() {
    promtool::check_metrics(&emitted());
}

#[test]
fn the_rules_and_the_configuration_are_to_promtools_liking() {
    promtool::check(&["check", "rules"], &shipped("alerts.yml"));
    promtool::check(&["check", "config"], &shipped("prometheus.yml"));
}

/// The conventions are in development: a change of theirs is a change of one file.
#[test]
fn only_one_module_spells_the_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    collect_sources(&root, &mut |path, text| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let spelt = |line: &&str| {
            ["\"gen_ai", "\"llm_", "\"llm.", "\"otel."].iter().any(|it| line.contains(it))
        };
        if code.filter(spelt).count() > 0 {
            found.insert(path.strip_prefix(&root).unwrap().to_owned());
        }
    });
    assert_eq!(found, BTreeSet::from([PathBuf::from("observe/names.rs")]));
}

fn collect_sources(folder: &Path, with: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_sources(&path, with);
        } else if path.extension().is_some_and(|it| it == "rs") {
            with(&path, &read(&path));
        }
    }
}

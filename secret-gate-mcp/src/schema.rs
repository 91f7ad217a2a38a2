//! Schemas as strict clients like them.

use std::sync::Arc;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// The schema of what a tool takes.
pub(crate) fn of_input<T: JsonSchema>() -> Arc<Map<String, Value>> {
    object(SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>())
}

/// The schema of what a tool answers.
pub(crate) fn of_output<T: JsonSchema>() -> Arc<Map<String, Value>> {
    object(SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>())
}

fn object(mut schema: Schema) -> Arc<Map<String, Value>> {
    plain(&mut schema);
    // names of our types say nothing to a model
    schema.remove("title");
    schema.remove("description");
    schema.remove("$schema");
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

/// Takes out what some clients warn of or refuse: formats of numbers that JSON Schema does not know, and types and defaults
/// of null for what can simply be left out.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        // a line of the source ends where it does for no reason that concerns a model
        *text = text.replace('\n', " ");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    transform_subschemas(&mut plain, schema);
}

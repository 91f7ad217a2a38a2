//! The API's description in OpenAPI 3.0.3, made from the handlers' types.
//!
//! The derive macros emit OpenAPI 3.1, whose schemas are JSON Schema 2020-12; many tools still read 3.0 only, whose
//! schemas say the same in other words (<https://spec.openapis.org/oas/v3.0.3#schema-object>).

use serde_json::{Map, Value, json};

/// Says an OpenAPI 3.1 document in the words of 3.0.3.
pub(crate) fn to_3_0(mut document: Value) -> Value {
    if let Some(root) = document.as_object_mut() {
        root.insert("openapi".to_owned(), json!("3.0.3"));
        root.remove("jsonSchemaDialect");
        root.remove("webhooks");
        // 3.0 knows a licence by its name only, 3.1 by its SPDX identifier too
        if let Some(license) = root.get_mut("info").and_then(|info| info.get_mut("license")?.as_object_mut()) {
            license.remove("identifier");
        }
    }
    convert(&mut document);
    document
}

fn convert(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(convert),
        Value::Object(object) => {
            convert_nullable_type(object);
            convert_null_branch(object, "oneOf");
            convert_null_branch(object, "anyOf");
            convert_limit(object, "exclusiveMinimum", "minimum");
            convert_limit(object, "exclusiveMaximum", "maximum");
            if let Some(only) = object.remove("const") {
                object.insert("enum".to_owned(), json!([only]));
            }
            if let Some(Value::Array(examples)) = object.get("examples").cloned() {
                object.remove("examples");
                object.extend(examples.into_iter().next().map(|first| ("example".to_owned(), first)));
            }
            // 3.0 ignores whatever stands beside a reference, so the reference moves into an allOf
            if object.len() > 1
                && let Some(Value::String(_)) = object.get("$ref")
                && let Some(reference) = object.remove("$ref")
            {
                object.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
            object.remove("propertyNames");
            object.values_mut().for_each(convert);
        }
        _ => {}
    }
}

/// `type: [string, null]` becomes `type: string, nullable: true`.
fn convert_nullable_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get("type") else { return };
    let mut named: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
    let nullable = named.len() < types.len();
    if named.len() == 1 {
        object.extend(named.pop().map(|kind| ("type".to_owned(), kind)));
    } else {
        object.remove("type");
        object.insert("anyOf".to_owned(), named.into_iter().map(|kind| json!({ "type": kind })).collect());
    }
    if nullable {
        object.insert("nullable".to_owned(), json!(true));
    }
}

/// `oneOf: [{type: null}, X]` becomes `allOf: [X], nullable: true`.
fn convert_null_branch(object: &mut Map<String, Value>, union: &str) {
    let Some(Value::Array(branches)) = object.get(union) else { return };
    let named: Vec<Value> =
        branches.iter().filter(|branch| branch.get("type") != Some(&json!("null"))).cloned().collect();
    if named.len() == branches.len() {
        return;
    }
    let union = if named.len() == 1 { object.remove(union).map(|_| "allOf") } else { Some(union) };
    object.extend(union.map(|union| (union.to_owned(), Value::Array(named))));
    object.insert("nullable".to_owned(), json!(true));
}

/// `exclusiveMinimum: 3` becomes `minimum: 3, exclusiveMinimum: true`.
fn convert_limit(object: &mut Map<String, Value>, exclusive: &str, inclusive: &str) {
    if let Some(limit @ Value::Number(_)) = object.get(exclusive).cloned() {
        object.insert(inclusive.to_owned(), limit);
        object.insert(exclusive.to_owned(), json!(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_same_in_the_words_of_3_0() {
        let cases = [
            (json!({"type": ["string", "null"]}), json!({"type": "string", "nullable": true})),
            (json!({"type": ["string", "integer"]}), json!({"anyOf": [{"type": "string"}, {"type": "integer"}]})),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/x"}], "description": "d"}),
                json!({"allOf": [{"$ref": "#/x"}], "nullable": true, "description": "d"}),
            ),
            (
                json!({"oneOf": [{"type": "string"}, {"$ref": "#/x"}]}),
                json!({"oneOf": [{"type": "string"}, {"$ref": "#/x"}]}),
            ),
            (json!({"exclusiveMinimum": 3}), json!({"minimum": 3, "exclusiveMinimum": true})),
            (json!({"const": "any"}), json!({"enum": ["any"]})),
            (json!({"examples": ["a", "b"]}), json!({"example": "a"})),
            (json!({"$ref": "#/x"}), json!({"$ref": "#/x"})),
            (json!({"$ref": "#/x", "description": "d"}), json!({"allOf": [{"$ref": "#/x"}], "description": "d"})),
            (
                json!({"properties": {"a": {"type": ["array", "null"], "items": {"type": ["string", "null"]}}}}),
                json!({"properties": {"a": {"type": "array", "nullable": true, "items": {"type": "string", "nullable": true}}}}),
            ),
        ];
        for (mut from, to) in cases {
            convert(&mut from);
            assert_eq!(from, to);
        }
    }

    #[test]
    fn names_its_version() {
        let converted = to_3_0(json!({
            "openapi": "3.1.0", "jsonSchemaDialect": "x", "paths": {}, "info": {"license": {"name": "MIT", "identifier": "MIT"}}
        }));
        assert_eq!(converted, json!({"openapi": "3.0.3", "paths": {}, "info": {"license": {"name": "MIT"}}}));
    }
}

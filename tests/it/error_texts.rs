//! The guide `trouble` has every error text of the crate.

use std::{collections::BTreeMap, fs, path::Path};

/// Types whose texts are no errors of users: they are sent to peers or are parts of other texts.
const INTERNAL: [&str; 1] = ["RequestError"];

/// The string literals of the `Display` implementations of error types, by type.
fn error_texts(folder: &Path, texts: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            error_texts(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            for part in source.split("Display for ").skip(1) {
                let name: String = part.chars().take_while(|character| character.is_alphanumeric()).collect();
                let is_error = name.ends_with("Error") || name == "TimeoutKind" || name == "NotTls";
                if is_error && !INTERNAL.contains(&&*name) {
                    texts.entry(name).or_default().extend(literals(block(part)));
                }
            }
        }
    }
}

/// The text up to the brace that closes the first one.
fn block(text: &str) -> &str {
    let mut depth = 0;
    for (index, octet) in text.bytes().enumerate() {
        match octet {
            b'{' => depth += 1,
            b'}' if depth == 1 => return &text[..index],
            b'}' => depth -= 1,
            _ => {}
        }
    }
    text
}

fn literals(block: &str) -> Vec<String> {
    let escaped = block.replace("\\\"", "\u{0}");
    escaped.split('"').skip(1).step_by(2).map(|text| text.replace('\u{0}', "\"")).collect()
}

/// The parts of a text between its placeholders.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split('{').enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, rest)| rest),
    });
    let words = outside.flat_map(|part| part.split(['"', '`', '\n']));
    words.map(|part| part.trim_matches([' ', ':', ';', ',', '"'])).filter(|part| part.len() > 3)
}

#[test]
fn guide_has_every_error_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("src/guide/trouble.md")).unwrap();
    let mut texts = BTreeMap::new();
    error_texts(&root.join("src"), &mut texts);
    assert!(texts.len() > 25 && texts.values().flatten().count() > 120, "{} types", texts.len());
    for (name, texts) in texts {
        for text in texts {
            for part in parts(&text) {
                assert!(page.contains(part), "{name}: {part:?} of {text:?} is missing in the guide");
            }
        }
    }
}

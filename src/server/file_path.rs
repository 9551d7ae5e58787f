//! Paths of files below a root, from the path of a request. Pure: nothing is looked up.

use std::path::PathBuf;

use crate::url::percent;

/// Longest name of a file or folder, in bytes: that of most file systems.
const MAX_NAME_BYTES: usize = 255;

/// The path below a root that the rest of a request's path names; `None` if it must not be served.
///
/// No result leads out of the root: a segment that decodes to `..`, or has a slash, a backslash, a colon or NUL, is
/// refused, and so are names that begin with a dot, except `.well-known` (RFC 8615). Symbolic links are the caller's.
pub(crate) fn relative_path(path: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    let mut segments = path.trim_start_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_none() {
            // A folder.
            break;
        }
        let name = String::from_utf8(percent::decoded(segment)).ok()?;
        let is_hidden = name.starts_with('.') && name != ".well-known";
        let is_special = name.contains(['/', '\\', ':', '\0']) || name.chars().any(char::is_control);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || is_hidden || is_special {
            return None;
        }
        relative.push(name);
    }
    Some(relative)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn path_of_a_request_names_a_file_below_the_root() {
        for (path, relative) in [
            ("", ""),
            ("/", ""),
            ("index.html", "index.html"),
            ("/a/b.css", "a/b.css"),
            ("a/", "a"),
            ("caf%C3%A9/na%20me.txt", "café/na me.txt"),
            ("100%25", "100%"),
            (".well-known/security.txt", ".well-known/security.txt"),
            ("a..b", "a..b"),
            ("a.", "a."),
        ] {
            assert_eq!(relative_path(path).as_deref(), Some(Path::new(relative)), "{path}");
        }
    }

    #[test]
    fn path_out_of_the_root_is_refused() {
        for path in [
            "..",
            "../etc/passwd",
            "a/../../etc",
            "a/..",
            "%2e%2e/etc",
            "%2E./etc",
            ".%2e/etc",
            "..%2fetc",
            "a%2f..%2f..%2fetc",
            "..\\etc",
            "..%5cetc",
            "a%5c..%5cetc",
            "c:/windows",
            "c%3a/windows",
            "file.txt%00.html",
            "a\0b",
            "%0a",
            "a//b",
            "a/./b",
            ".",
            ".git/config",
            ".env",
            "a/.hidden",
            "%ff%fe",
        ] {
            assert_eq!(relative_path(path), None, "{path}");
        }
        assert_eq!(relative_path(&"a".repeat(256)), None);
        assert!(relative_path(&"a".repeat(255)).is_some());
    }
}

//! Files: of a folder, or within the program.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    rc::Rc,
    time::SystemTime,
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    file_path::relative_path,
    reply::{FileReply, body::Body},
};
use crate::{
    buffer::Bytes,
    http::{
        Request,
        conditional::{Outcome, Validators},
        range::{Selection, select},
        response,
        route_error::RouteError,
    },
};

/// The page of a folder.
const INDEX: &str = "index.html";

/// Files of a [`Routes::files`](crate::Routes::files): of a folder, or within the program.
///
/// A path is answered with `Content-Type` by its extension, `ETag`, `Last-Modified` of files in a folder, and one range
/// of bytes if the request has one. A request whose conditions say that the client has the file is answered with 304.
/// A folder is answered with its `index.html`; its path without the last slash is redirected. Where a file has a
/// neighbour `.br` or `.gz`, that one is sent to clients which accept it.
///
/// A path never leads out of the folder: `..`, encoded slashes, names that begin with a dot (except `.well-known`) and
/// symbolic links to the outside are answered with 404, and so is whatever is not a regular file.
///
/// Files are read on the thread of the reactor, 64 KiB at a time: serve from a disk that answers fast.
///
/// ```
/// use ws_reactor::{Files, Routes};
///
/// # macro_rules! include_bytes { ($path:literal) => { b"<h1>hello</h1>" } }
/// let assets = Files::embedded()
///     .asset("index.html", include_bytes!("index.html"))
///     .asset("app.js", b"console.log(1)");
/// let routes = Routes::new().files("/", assets).files("/src", Files::directory("src").cache_control("max-age=60"));
/// ```
#[derive(Debug, Clone)]
#[must_use = "files have an effect only in routes"]
pub struct Files {
    origin: Origin,
    cache_control: Option<HeaderValue>,
}

#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Assets(Rc<Vec<(String, Asset)>>),
}

/// A file within the program.
#[derive(Debug, Clone)]
struct Asset {
    bytes: Bytes,
    etag: String,
}

impl Files {
    /// The files of a folder and its folders.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Files { origin: Origin::Directory(path.into()), cache_control: None }
    }

    /// No files, to which [`asset`](Self::asset) adds files within the program.
    pub fn embedded() -> Self {
        Files { origin: Origin::Assets(Rc::default()), cache_control: None }
    }

    /// Adds a file within the program, such as that of an `include_bytes!`. It is sent without a copy.
    ///
    /// # Panics
    ///
    /// If these are the files of a folder.
    pub fn asset(mut self, path: &str, bytes: &'static [u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let etag = format!("\"{:x}-{:016x}\"", bytes.len(), hasher.finish());
        let asset = Asset { bytes: Bytes::from_static(bytes), etag };
        match &mut self.origin {
            Origin::Assets(assets) => Rc::make_mut(assets).push((path.trim_start_matches('/').to_owned(), asset)),
            Origin::Directory(path) => panic!("{path:?} is a folder; Files::embedded() has no files at first"),
        }
        self
    }

    /// Sets the value of `Cache-Control`. Default: none, so that a client may store the file for a time that it
    /// guesses.
    ///
    /// # Panics
    ///
    /// If `value` is not visible ASCII.
    pub fn cache_control(mut self, value: &'static str) -> Self {
        self.cache_control = Some(HeaderValue::from_static(value));
        self
    }

    /// The files, with the real path of their folder.
    pub(crate) fn resolved(mut self) -> Result<Self, RouteError> {
        if let Origin::Directory(path) = &mut self.origin {
            let found = fs::canonicalize(&*path).and_then(|real| fs::read_dir(&real).map(|_| real));
            *path = found.map_err(|error| RouteError::Directory { path: path.clone(), reason: error.to_string() })?;
        }
        Ok(self)
    }

    /// The response to a request, whose path has `segments` segments before that of the file.
    pub(super) fn response(&self, request: &Request, segments: usize) -> Response<Body> {
        let path = request.path();
        let rest = path.match_indices('/').nth(segments).map_or("", |(slash, _)| &path[slash..]);
        let Some(relative) = relative_path(rest) else { return not_found() };
        let is_folder = rest.ends_with('/');
        let found = match &self.origin {
            Origin::Directory(root) => in_directory(root, &relative, is_folder, request),
            Origin::Assets(assets) => in_assets(assets, &relative, is_folder, request),
        };
        match found {
            Located::Nothing => not_found(),
            Located::Folder => redirect_to_folder(path, request.query_string()),
            Located::File(mut representation) => {
                if let Some(value) = &self.cache_control {
                    representation.headers.insert(header::CACHE_CONTROL, value.clone());
                }
                representation.response(request)
            }
        }
    }
}

impl<P: AsRef<Path>> From<P> for Files {
    fn from(path: P) -> Self {
        Files::directory(path.as_ref())
    }
}

/// The response with a file that the application has chosen.
pub(super) fn response(file: FileReply, request: &Request) -> Response<Body> {
    let FileReply { path, headers, status } = file;
    match Representation::open(&path, &path, None) {
        Ok(mut representation) => {
            representation.headers.extend(headers);
            match status {
                None | Some(StatusCode::OK) => representation.response(request),
                // Conditions and ranges concern responses with 200 (RFC 9110 §13.2.1, §14.2).
                Some(status) => representation.whole(status),
            }
        }
        Err(error) => {
            log::debug!(target: "ws_reactor::server", "{path:?}: {error}");
            not_found()
        }
    }
}

fn not_found() -> Response<Body> {
    response::status(StatusCode::NOT_FOUND).map(Body::from)
}

/// A relative redirect, which leads to no other host and stays right behind a proxy that changes the path.
fn redirect_to_folder(path: &str, query: Option<&str>) -> Response<Body> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let mut response = response::status(StatusCode::MOVED_PERMANENTLY).map(Body::from);
    match HeaderValue::try_from(format!("./{name}/{query}")) {
        Ok(location) => _ = response.headers_mut().insert(header::LOCATION, location),
        Err(_) => return not_found(),
    }
    response
}

/// Result of looking for a path.
enum Located {
    File(Representation),
    /// A folder with a page, whose path needs a slash at its end.
    Folder,
    Nothing,
}

/// Content codings, the preferred one first, each with the extension of its files.
const CODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// The codings that a request accepts, the one with the largest weight first (RFC 9110 §12.5.3).
fn accepted_codings(request: &Request) -> Vec<(&'static str, &'static str)> {
    let weight = |coding: &str| {
        request.list(header::ACCEPT_ENCODING).find_map(|member| {
            let (name, weight) = member.split_once(';').unwrap_or((member, ""));
            let weight = weight.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('=')).unwrap_or("1");
            let is_named = name.trim().eq_ignore_ascii_case(coding);
            is_named.then(|| weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)))
        })?
    };
    let mut accepted: Vec<_> = CODINGS.iter().map(|coding| (weight(coding.0).unwrap_or(0.0), *coding)).collect();
    accepted.retain(|(weight, _)| *weight > 0.0);
    accepted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    accepted.into_iter().map(|(_, coding)| coding).collect()
}

fn in_directory(root: &Path, relative: &Path, is_folder: bool, request: &Request) -> Located {
    // The real path has no symbolic links, so a prefix of it is a folder around it.
    let within = |path: &Path| fs::canonicalize(path).ok().filter(|real| real.starts_with(root));
    let Some(mut real) = within(&root.join(relative)) else { return Located::Nothing };
    if real.is_dir() {
        let Some(page) = within(&real.join(INDEX)).filter(|page| page.is_file()) else { return Located::Nothing };
        if !is_folder {
            return Located::Folder;
        }
        real = page;
    } else if is_folder {
        return Located::Nothing;
    }
    let named = if relative.extension().is_some() && !is_folder { relative } else { &*real };
    let neighbour = |extension: &str| {
        let mut path = real.clone().into_os_string();
        path.push(extension);
        PathBuf::from(path)
    };
    for (coding, extension) in accepted_codings(request) {
        if let Some(coded) = within(&neighbour(extension))
            && let Ok(representation) = Representation::open(&coded, named, Some(coding))
        {
            return Located::File(representation);
        }
    }
    let has_neighbour = CODINGS.iter().any(|(_, extension)| neighbour(extension).is_file());
    match Representation::open(&real, named, None) {
        Ok(mut representation) => {
            if has_neighbour {
                representation.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            }
            Located::File(representation)
        }
        Err(_) => Located::Nothing,
    }
}

fn in_assets(assets: &[(String, Asset)], relative: &Path, is_folder: bool, request: &Request) -> Located {
    let Some(relative) = relative.to_str() else { return Located::Nothing };
    let page = if relative.is_empty() { INDEX.to_owned() } else { format!("{relative}/{INDEX}") };
    let asset = |path: &str| assets.iter().find(|(known, _)| known == path).map(|(_, asset)| asset);
    let path = if is_folder { &page } else { relative };
    if asset(path).is_none() {
        return if asset(&page).is_some() { Located::Folder } else { Located::Nothing };
    }
    let coded = |extension: &str| asset(&format!("{path}{extension}"));
    let mut codings = accepted_codings(request).into_iter();
    let chosen = codings.find_map(|(coding, extension)| Some((Some(coding), coded(extension)?)));
    let Some((coding, asset)) = chosen.or_else(|| Some((None, asset(path)?))) else { return Located::Nothing };
    let mut headers = type_headers(Path::new(path), coding);
    if CODINGS.iter().any(|(_, extension)| coded(extension).is_some()) {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let validators = Validators { etag: asset.etag.clone(), modified: None };
    Located::File(Representation { content: Content::Bytes(asset.bytes.clone()), validators, headers })
}

/// A file that a response may carry.
struct Representation {
    content: Content,
    validators: Validators,
    headers: HeaderMap,
}

enum Content {
    File(File, u64),
    Bytes(Bytes),
}

impl Representation {
    /// Opens a regular file. Its type is that of the name `named`.
    fn open(path: &Path, named: &Path, coding: Option<&'static str>) -> io::Result<Self> {
        // Opening a FIFO would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let modified = metadata.modified().ok().filter(|modified| is_http_date(*modified));
        let age = modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok());
        let (length, nanos) = (metadata.len(), age.unwrap_or_default().as_nanos());
        let suffix = coding.map_or(String::new(), |coding| format!("-{coding}"));
        let validators = Validators { etag: format!("\"{length:x}-{nanos:x}{suffix}\""), modified };
        Ok(Representation { content: Content::File(file, length), validators, headers: type_headers(named, coding) })
    }

    /// The response with all of the file, and without validators: it is no representation of what was requested.
    fn whole(self, status: StatusCode) -> Response<Body> {
        let length = self.content.length();
        let Ok(body) = self.content.part(0..length) else { return not_found() };
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, self.headers);
        response
    }

    /// The response to a request, by its conditions and its range.
    fn response(self, request: &Request) -> Response<Body> {
        let Representation { content, validators, headers } = self;
        let length = content.length();
        let mut response = Response::new(Body::empty());
        let outcome = validators.evaluate(request.headers());
        let range = request.headers().get(header::RANGE).filter(|_| *request.method() == Method::GET);
        let selection = match outcome {
            Outcome::Send { ranged: true } => range.map_or(Selection::Whole, |range| select(range.as_bytes(), length)),
            _ => Selection::Whole,
        };
        *response.headers_mut() = headers;
        let headers = response.headers_mut();
        insert(headers, header::ETAG, &validators.etag);
        if let Some(modified) = validators.modified {
            insert(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let (status, part) = match (outcome, selection) {
            (Outcome::NotModified, _) => (StatusCode::NOT_MODIFIED, None),
            (Outcome::Failed, _) => (StatusCode::PRECONDITION_FAILED, None),
            (_, Selection::Whole) => (StatusCode::OK, Some(0..length)),
            (_, Selection::Part(part)) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                insert(headers, header::CONTENT_RANGE, &range);
                (StatusCode::PARTIAL_CONTENT, Some(part))
            }
            (_, Selection::Unsatisfiable) => {
                insert(headers, header::CONTENT_RANGE, &format!("bytes */{length}"));
                (StatusCode::RANGE_NOT_SATISFIABLE, None)
            }
        };
        *response.status_mut() = status;
        if part.is_none() {
            // They describe the file, and not the content of this response.
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
                response.headers_mut().remove(name);
            }
            return response;
        }
        match content.part(part.unwrap_or(0..length)) {
            Ok(body) => response.map(|_| body),
            Err(_) => not_found(),
        }
    }
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Content::File(_, length) => *length,
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn part(self, part: std::ops::Range<u64>) -> io::Result<Body> {
        match self {
            Content::File(mut file, _) => {
                if part.start > 0 {
                    file.seek(SeekFrom::Start(part.start))?;
                }
                Ok(Body::file(file, part.end - part.start))
            }
            Content::Bytes(bytes) => Ok(bytes.slice(part.start as usize..part.end as usize).into()),
        }
    }
}

/// Returns `true` for a time that a date of HTTP can express: from 1970 to 9999 (RFC 9110 §5.6.7).
fn is_http_date(time: SystemTime) -> bool {
    time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|age| age.as_secs() < 253_402_300_800)
}

/// The headers that describe a file.
fn type_headers(path: &Path, coding: Option<&'static str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let guessed = mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream");
    let is_text = guessed.starts_with("text/") || guessed.ends_with("javascript") || guessed.ends_with("json");
    let content_type = if is_text { format!("{guessed}; charset=utf-8") } else { guessed.to_owned() };
    insert(&mut headers, header::CONTENT_TYPE, &content_type);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

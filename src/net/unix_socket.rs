//! Unix sockets: their names, listening on one, and connecting to one.

#[cfg(unix)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, path::Path};

use socket2::Socket;
#[cfg(unix)]
use socket2::{Domain, SockAddr, Type};

#[cfg(not(unix))]
pub(super) fn connect(_: &Path) -> io::Result<std::net::TcpStream> {
    Err(unsupported())
}

#[cfg(not(unix))]
pub(super) fn listen(_: &Path, _: Option<u32>, _: i32) -> io::Result<Socket> {
    Err(unsupported())
}

#[cfg(not(unix))]
fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "Unix sockets are not supported on this system")
}

/// The address of a path, or of an abstract name, which begins with `@` as in systemd and the table of the system.
#[cfg(unix)]
fn address(path: &Path) -> io::Result<SockAddr> {
    match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) if cfg!(any(target_os = "linux", target_os = "android")) => SockAddr::unix(format!("\0{name}")),
        Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no abstract names of Unix sockets")),
        None => SockAddr::unix(path),
    }
}

/// Connects to a Unix socket. Reads and writes are the same as with TCP, so the stream is kept as a TCP stream.
#[cfg(unix)]
pub(super) fn connect(path: &Path) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A Unix socket connects at once or fails: a listener with a full queue gives EAGAIN (connect(2)).
    socket.connect(&address(path)?)?;
    Ok(socket.into())
}

/// Number of temporary files so far: each listener of the process has one of its own.
#[cfg(unix)]
static TEMPORARY_FILES: AtomicUsize = AtomicUsize::new(0);

/// Listens on a Unix socket. The file of a listener that is gone is replaced.
#[cfg(unix)]
pub(super) fn listen(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<Socket> {
    let address = address(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if address.as_pathname().is_none() {
        socket.bind(&address)?;
        socket.listen(backlog)?;
        return Ok(socket);
    }
    if std::fs::symlink_metadata(path).is_ok() && !is_stale(path, &address) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // The file has its name only when the socket listens: a process that starts meanwhile must not take it for a file
    // that was left behind.
    let number = TEMPORARY_FILES.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{}-{number}", std::process::id()));
    // A process of the same id may have left one behind.
    let _ = std::fs::remove_file(&temporary);
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let listening = mode
        .map_or(Ok(()), |mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))
        })
        .and_then(|()| socket.listen(backlog))
        .and_then(|()| std::fs::rename(&temporary, path));
    if listening.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    listening.map(|()| socket)
}

/// Returns `true` if the path is a socket on which nobody listens.
#[cfg(unix)]
fn is_stale(path: &Path, address: &SockAddr) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return false;
    }
    let Ok(probe) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return false };
    let _ = probe.set_nonblocking(true);
    probe.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    use super::*;

    #[test]
    fn file_of_a_listener_that_is_gone_is_replaced() {
        let path = std::env::temp_dir().join(format!("ws-reactor-stale-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        drop(UnixListener::bind(&path).unwrap());
        let listener = listen(&path, Some(0o620), 8).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        assert!(connect(&path).is_ok());
        assert_eq!(listen(&path, None, 8).unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody listens");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file").unwrap();
        assert_eq!(listen(&path, None, 8).unwrap_err().kind(), io::ErrorKind::AddrInUse, "not a socket");
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn listeners_of_one_folder_may_start_at_the_same_time() {
        let folder = std::env::temp_dir().join(format!("ws-reactor-folder-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let start = |number: usize| {
            let path = folder.join(number.to_string());
            std::thread::spawn(move || (0..1000).for_each(|_| drop(listen(&path, None, 8).unwrap())))
        };
        let threads: Vec<_> = (0..4).map(start).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "nothing but the sockets is left");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn name_that_begins_with_an_at_sign_is_abstract() {
        let name = format!("@ws-reactor-test-{}", std::process::id());
        let listener = listen(Path::new(&name), Some(0o600), 8).unwrap();
        assert!(connect(Path::new(&name)).is_ok() && !Path::new(&name).exists());
        assert_eq!(listen(Path::new(&name), None, 8).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(connect(Path::new(&name)).is_err());
    }
}

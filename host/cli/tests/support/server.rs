//! A server on a free port, as small as one can be: one request a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use auditchain_log::{EntryBundle, TileRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::MemoryLog;

/// Status, further header lines, body.
pub type Answer = (u16, String, Vec<u8>);

/// Serves until the process ends; returns the URL. `answer` gets method, path with
/// query, and body.
pub fn serve(answer: impl Fn(&str, &str, &[u8]) -> Answer + Send + Sync + 'static) -> String {
    serve_with_head(move |_, method, path, body| answer(method, path, body))
}

/// As [`serve`]; `answer` gets the request's head first.
pub fn serve_with_head(
    answer: impl Fn(&str, &str, &str, &[u8]) -> Answer + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap() > 2 {}
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse().unwrap())
                });
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                let mut first = head.split(' ');
                let (method, path) = (first.next().unwrap(), first.next().unwrap());
                let (status, headers, body) = answer(&head, method, path, &body);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
                    body.len()
                );
                // A client that reads no further is what some tests are about.
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&body));
            });
        }
    });
    url
}

/// The read paths of the service over a log in memory. Bodies come a few at a time.
pub fn read_api(log: &MemoryLog, path: &str) -> Answer {
    let found = |body: Option<Vec<u8>>| match body {
        Some(body) => (200, String::new(), body),
        None => (404, String::new(), b"{\"detail\":\"no\"}".to_vec()),
    };
    if let Some(tile) = path.strip_prefix("/tile/") {
        return found(match TileRef::parse(tile).unwrap() {
            TileRef::Hashes { id, width } => log
                .tiles
                .get(&id)
                .filter(|tile| tile.len() >= width * 32)
                .map(|tile| tile[..width * 32].to_vec()),
            TileRef::Entries { index, width } => {
                let first = usize::try_from(index).unwrap() * 256;
                log.entries.get(first..first + width).map(|entries| {
                    let mut bundle = EntryBundle::default();
                    entries.iter().for_each(|entry| bundle.push(entry).unwrap());
                    bundle.into_bytes()
                })
            }
        });
    }
    if let Some(query) = path.strip_prefix("/api/v1/bodies?from=") {
        let (from, to) = query.split_once("&to=").unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let end = to.min(from + 100).min(log.bodies.len());
        let mut text = String::new();
        for (index, body) in log.bodies.iter().enumerate().take(end).skip(from) {
            if let Some((salt, body)) = body {
                text += &format!(
                    "{{\"index\":{index},\"salt\":\"{}\",\"body\":\"{}\"}}\n",
                    hex::encode(salt),
                    STANDARD.encode(body)
                );
            }
        }
        return found(Some((text + &format!("{{\"next\":{end}}}\n")).into_bytes()));
    }
    if let Some(digest) = path.strip_prefix("/api/v1/blobs/sha256/") {
        return found(log.blobs.get(&digest.parse().unwrap()).cloned());
    }
    match path {
        "/checkpoint" => found(log.note.clone()),
        "/keys" => found(log.vkeys.clone().map(String::into_bytes)),
        _ => found(None),
    }
}

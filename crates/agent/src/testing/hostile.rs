//! What stands between a machine and its service, and misbehaves: a proxy over a real socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As the service does.
    Honest,
    /// A page of HTML with status 200.
    WebPage,
    /// A page of HTML that claims to be something else.
    DisguisedPage,
    /// To a page where one logs in.
    Login,
    /// Zeroes without an end.
    Endless,
    /// A byte now and then.
    Trickle,
    /// Takes the call and never answers.
    Silent,
    /// Half of what it announced.
    Half,
}

/// A proxy on its way to a service.
pub struct Hostile {
    pub address: SocketAddr,
    manner: Arc<Mutex<(Manner, &'static str)>>,
}

impl Hostile {
    /// Passes everything on to `service`, until it is told otherwise.
    pub fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new((Manner::Honest, "")));
        let shared = manner.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that gives up ends the call, as it should.
                thread::spawn(move || drop(answer(stream, service, &shared)));
            }
        });
        Self { address, manner }
    }

    /// From now on, for paths that begin so.
    pub fn behave(&self, manner: Manner, path: &'static str) {
        *self.manner.lock().unwrap() = (manner, path);
    }

    /// The line of a configuration file.
    pub fn as_proxy(&self) -> String {
        format!("http-proxy = \"http://{}\"\n", self.address)
    }
}

fn answer(
    stream: TcpStream,
    service: SocketAddr,
    manner: &Mutex<(Manner, &'static str)>,
) -> io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut head = head(&mut client)?;
    if head.starts_with("CONNECT ") {
        client.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        head = self::head(&mut client)?;
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => target,
    };
    let (manner, from) = *manner.lock().unwrap();
    let manner = if path.starts_with(from) {
        manner
    } else {
        Manner::Honest
    };
    let head = head.replacen(target, path, 1);
    if manner == Manner::Honest {
        return pass_on(client, &head, service);
    }
    let body = length(&head);
    client.read_exact(&mut vec![0; body])?;
    misbehave(client.get_mut(), manner)
}

/// The lines before a body.
fn head(client: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths
        .next()
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn pass_on(mut client: BufReader<TcpStream>, head: &str, service: SocketAddr) -> io::Result<()> {
    let mut body = vec![0; length(head)];
    client.read_exact(&mut body)?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let mut service = TcpStream::connect(service)?;
    service.write_all(head.as_bytes())?;
    service.write_all(&body)?;
    io::copy(&mut service, client.get_mut())?;
    Ok(())
}

fn misbehave(client: &mut TcpStream, manner: Manner) -> io::Result<()> {
    let page = "<html><h1>Welcome to our network</h1></html>";
    let head =
        |line: &str, more: &str| format!("HTTP/1.1 {line}\r\nconnection: close\r\n{more}\r\n");
    match manner {
        Manner::Honest => unreachable!("the service answers"),
        Manner::WebPage => {
            let head = head("200 OK", "content-type: text/html; charset=utf-8\r\n");
            write!(client, "{head}{page}")
        }
        Manner::DisguisedPage => {
            let head = head("200 OK", "content-type: application/json\r\n");
            write!(client, "{head}{page}")
        }
        Manner::Login => {
            let to = "location: https://login.hotel.example/\r\n";
            write!(client, "{}", head("302 Found", to))
        }
        Manner::Endless => {
            client.write_all(head("200 OK", "").as_bytes())?;
            loop {
                client.write_all(&[b'0'; 65_536])?;
            }
        }
        Manner::Trickle => {
            client.write_all(head("200 OK", "content-length: 100000\r\n").as_bytes())?;
            loop {
                client.write_all(b"0")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Manner::Silent => client.read(&mut [0]).map(drop),
        Manner::Half => {
            let head = head("200 OK", "content-length: 1000\r\n");
            write!(client, "{head}{{\"offer\"")
        }
    }
}

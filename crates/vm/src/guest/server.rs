//! Serves the host's requests, each in a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use rustix::system::RebootCommand;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};

use super::config::GuestConfig;
use super::{command, files, power, system};
use crate::wire::{Action, Answer, Line, Lines, MAX_REQUEST_LINE, Ready, Request, encode};

/// How long the port may take to appear after its driver was loaded.
const PORT_DEADLINE: Duration = Duration::from_secs(20);

/// Announces the guest and serves until the machine goes down.
pub fn serve(config: &GuestConfig) -> Result<()> {
    let name = &config.port;
    let mut port = open_port(Path::new(name)).with_context(|| format!("cannot open `{name}`"))?;
    let writer = Arc::new(Mutex::new(port.try_clone()?));
    // What the drivers left on the line while they tried the port ends with this newline.
    port.write_all(b"\n")?;
    send(&writer, &Line::Ready(ready()?))?;
    let mut lines = Lines::new(MAX_REQUEST_LINE);
    let mut buffer = vec![0; 4096];
    loop {
        let length = port.read(&mut buffer).context("cannot read requests")?;
        for line in lines.push(&buffer[..length]) {
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => start(request, &writer, config),
                Err(error) => super::say(&format!("not a request: {error}")),
            }
        }
    }
}

fn open_port(path: &Path) -> Result<File> {
    let deadline = Instant::now() + PORT_DEADLINE;
    while !path.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(path)?;
    if isatty(&port) {
        let mut settings = tcgetattr(&port)?;
        settings.make_raw();
        settings.set_speed(115_200)?;
        tcsetattr(&port, OptionalActions::Now, &settings)?;
    }
    Ok(port)
}

fn ready() -> Result<Ready> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    Ok(Ready {
        boot_id: boot_id.trim().to_owned(),
        kernel_release: release,
    })
}

fn start(request: Request, writer: &Arc<Mutex<File>>, config: &GuestConfig) {
    let writer = Arc::clone(writer);
    let (disk, system) = (config.disk.clone(), config.system);
    thread::spawn(move || {
        let down = match request.action {
            Action::Reboot => Some(RebootCommand::Restart),
            Action::PowerOff => Some(RebootCommand::PowerOff),
            _ => None,
        };
        let answer = answer(&request);
        let line = Line::Answer {
            id: request.id,
            answer,
        };
        if let Err(error) = send(&writer, &line) {
            super::say(&format!("cannot answer request {}: {error:#}", request.id));
        }
        match down {
            Some(command) if system => system::go_down(command),
            Some(command) => power::go_down(disk.as_deref(), command),
            None => {}
        }
    });
}

fn answer(request: &Request) -> Answer {
    let result = match &request.action {
        Action::Run {
            command,
            timeout_ms,
        } => command::run(request.id, command, Duration::from_millis(*timeout_ms)),
        Action::Spawn { command, log } => command::spawn(command, log),
        Action::WriteFile {
            path,
            offset,
            mode,
            data,
        } => files::write(path, *offset, *mode, &data.0),
        Action::ReadFile { path, offset } => files::read(path, *offset),
        Action::Reboot | Action::PowerOff => Ok(Answer::GoingDown),
    };
    result.unwrap_or_else(|error| Answer::Failed {
        reason: format!("{error:#}"),
    })
}

fn send(writer: &Mutex<File>, line: &Line) -> Result<()> {
    let bytes = encode(line)?;
    let mut port = writer.lock().unwrap_or_else(PoisonError::into_inner);
    port.write_all(&bytes).context("cannot write to the host")
}

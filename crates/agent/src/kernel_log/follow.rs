//! Follows `/dev/kmsg`, woken by the kernel alone.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

use super::{Recogniser, Trouble, records};

/// Longest message with its prefix is 8 KiB (kernel: `PRINTK_MESSAGE_MAX` and `CONSOLE_EXT_LOG_MAX`).
const BUFFER: usize = 16 * 1024;
/// Silence after which a trouble is over.
const SILENCE: Duration = Duration::from_secs(1);

/// The kernel's messages of this boot, from the first that it still has.
#[derive(Debug)]
pub struct KernelLog {
    source: AsyncFd<File>,
    recogniser: Recogniser,
    /// Messages up to this one were told of in an earlier run.
    told: Option<u64>,
}

/// What one read brought.
enum Heard {
    Troubles(Vec<Trouble>),
    Nothing,
}

impl KernelLog {
    /// `file` is open for reading without blocking; `told` is the number of the last message of
    /// this boot that is not to be told again. To be called within a tokio runtime.
    pub fn new(file: File, told: Option<u64>) -> io::Result<Self> {
        // SAFETY: the file is open, owns its descriptor, and goes with `source` alone, which
        // never replaces it.
        let source = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?;
        Ok(Self {
            source,
            recogniser: Recogniser::default(),
            told,
        })
    }

    /// Hears what is there already, and returns.
    pub fn backlog(&mut self, hear: &mut impl FnMut(Trouble)) -> io::Result<()> {
        let read = |source: &AsyncFd<File>, buffer: &mut [u8]| source.get_ref().read(buffer);
        while let Heard::Troubles(troubles) = self.read(read)? {
            troubles.into_iter().for_each(&mut *hear);
        }
        self.recogniser.silence().into_iter().for_each(hear);
        Ok(())
    }

    /// Hears what comes, until reading fails.
    pub async fn follow(&mut self, hear: &mut impl FnMut(Trouble)) -> io::Error {
        loop {
            if let Err(error) = self.hear_next(hear).await {
                return error;
            }
        }
    }

    async fn hear_next(&mut self, hear: &mut impl FnMut(Trouble)) -> io::Result<()> {
        let readable = self.source.readable();
        if self.recogniser.is_gathering() {
            match tokio::time::timeout(SILENCE, readable).await {
                Ok(guard) => drop(guard?),
                Err(_) => self.recogniser.silence().into_iter().for_each(&mut *hear),
            }
        } else {
            drop(readable.await?);
        }
        let read = |source: &AsyncFd<File>, buffer: &mut [u8]| {
            source.try_io(Interest::READABLE, |mut file| file.read(buffer))
        };
        if let Heard::Troubles(troubles) = self.read(read)? {
            troubles.into_iter().for_each(hear);
        }
        Ok(())
    }

    fn read(
        &mut self,
        read: impl FnOnce(&AsyncFd<File>, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Heard> {
        let mut buffer = [0; BUFFER];
        let count = match read(&self.source, &mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Nothing),
            Err(error) if is_skipped(&error) => {
                debug!(%error, "messages of the kernel were overwritten before they were read");
                return Ok(Heard::Troubles(Vec::new()));
            }
            Err(error) => return Err(error),
        };
        let new = records(&buffer[..count]).filter(|record| Some(record.sequence) > self.told);
        let troubles = new.flat_map(|record| self.recogniser.record(&record));
        Ok(Heard::Troubles(troubles.collect()))
    }
}

/// EPIPE: messages were lost, the next read goes on behind them. EINVAL: one was too long.
fn is_skipped(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == ErrorKind::Interrupted || matches!(code, Some(Errno::PIPE | Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::{CWD, FileType, Mode, OFlags};

    use super::*;

    /// A named pipe that is read as the kernel's log.
    struct Pipe {
        dir: tempfile::TempDir,
        writer: File,
    }

    impl Pipe {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kmsg");
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let writer = OpenOptions::new().read(true).write(true).open(&path);
            Self {
                dir,
                writer: writer.unwrap(),
            }
        }

        fn print(&mut self, sequence: u64, text: &str) {
            writeln!(self.writer, "4,{sequence},{sequence},-;{text}").unwrap();
        }

        fn open(&self, told: Option<u64>) -> KernelLog {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(self.dir.path().join("kmsg"));
            KernelLog::new(file.unwrap(), told).unwrap()
        }
    }

    fn warning(file: &str) -> String {
        format!("WARNING: CPU: 0 PID: 1 at {file}:1 f+0x1/0x2")
    }

    #[tokio::test]
    async fn what_was_printed_before_is_heard_once() {
        let mut pipe = Pipe::new();
        pipe.print(7, &warning("told.c"));
        pipe.print(8, "---[ end trace 0000000000000000 ]---");
        pipe.print(9, &warning("new.c"));
        let mut heard = Vec::new();
        pipe.open(Some(8))
            .backlog(&mut |trouble| heard.push(trouble))
            .unwrap();
        assert_eq!(heard.len(), 1);
        assert_eq!(
            (heard[0].text.as_str(), heard[0].sequence),
            (warning("new.c").as_str(), 9)
        );
    }

    #[tokio::test]
    async fn what_comes_later_is_heard_when_it_is_over() {
        let mut pipe = Pipe::new();
        let mut log = pipe.open(None);
        let mut nothing = |_| panic!("nothing was printed");
        log.backlog(&mut nothing).unwrap();
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            log.follow(&mut |trouble| sender.send(trouble).unwrap())
                .await;
        });
        for n in 0..3 {
            pipe.print(2 * n, &warning("a.c"));
            pipe.print(2 * n + 1, " more [suture_104_1]");
            let trouble = heard.recv().await.unwrap();
            assert_eq!(trouble.sequence, 2 * n + 1);
            assert_eq!(trouble.names_patch, Some("104.1".parse().unwrap()));
        }
    }
}

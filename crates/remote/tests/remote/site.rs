//! A repository on a site that hands out files.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use suture_remote::{Address, Place, RemoteError, Source, push};
use suture_repository::Mirror;

use crate::shop::{Shop, contents, now};

/// Python's own file server; it ends with this.
struct Site {
    child: Child,
    address: Address,
}

impl Site {
    fn of(dir: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        // Serving HTTP on 127.0.0.1 port 34127 (http://127.0.0.1:34127/) ...
        let url = line
            .split(['(', ')'])
            .nth(1)
            .expect("it says where it serves");
        let address = format!("{url}repository").parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_site_can_be_followed_and_not_written() {
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    let site = Site::of(&shop.path("."));
    let mirror = Mirror::new(shop.path("copy"), Some(shop.trusted_root.clone()));
    let source = Source::open(&site.address, []).unwrap();
    source.update(&mirror, now()).await.unwrap();
    shop.publish("2", "second").await;
    let mirrored = source.update(&mirror, now()).await.unwrap();
    assert_eq!(mirrored.added.len(), 1);
    assert_eq!(contents(&mirror.dir).await, ["first", "second"]);

    let place = Place::open(&site.address, []).unwrap();
    let refused = push(&shop.dir(), &place).await.unwrap_err();
    assert!(
        matches!(refused, RemoteError::NotABucket { .. }),
        "{refused}"
    );
    drop(site);
    source
        .update(&mirror, now())
        .await
        .expect_err("nobody answers");
    assert_eq!(contents(&mirror.dir).await, ["first", "second"]);
}
